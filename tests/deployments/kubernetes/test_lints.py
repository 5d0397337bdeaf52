"""No manifest has a fault of a kind that is known, and each lint notices its fault where somebody makes it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import manifest_lints as lints
import pytest
from manifest_lints import LINTS
from manifests import LASTING, Object, named, rendered


@pytest.mark.proves(
    "The manifests let no container run as root, gain privileges or write to its file system", how="lint"
)
@pytest.mark.proves("Every container requests CPU and memory, and its memory limit is its request", how="lint")
@pytest.mark.proves("Every probe has time enough for a busy process", how="lint")
@pytest.mark.proves("The manifests give no container but Ray's autoscaler a token of the API server", how="lint")
@pytest.mark.proves("Every disk names its class, so that none goes with its claim by default", how="lint")
@pytest.mark.proves(
    "All that runs on has a disruption budget, and one that lets nothing that is alone be evicted", how="lint"
)
@pytest.mark.proves(
    "Only workers with models may land on a spot machine, and nothing on another architecture", how="lint"
)
@pytest.mark.proves("The manifests put the spot watch beside every worker that may land on a spot machine", how="lint")
@pytest.mark.proves(
    "The manifests set Ray's drain longer than a call, and its pod's grace longer than that", how="lint"
)
@pytest.mark.proves("The RayService sets what lets its head die without its workers, and no dead field", how="lint")
@pytest.mark.parametrize("lint", LINTS, ids=lambda lint: lint.__name__)
def test_no_manifest_has_the_fault(lint: Callable[[list[Object]], list[str]]) -> None:
    assert lint(rendered(*LASTING, "tasks")) == []


def pod(objects: list[Object], kind: str, name: str) -> Any:
    return named(objects, kind, name)["spec"]["template"]["spec"]


def head(objects: list[Object]) -> Any:
    return named(objects, "RayService", "fleet")["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]


def ray(objects: list[Object]) -> Any:
    return named(objects, "RayService", "fleet")["spec"]


def without(objects: list[Object], kind: str, name: str) -> None:
    objects.remove(named(objects, kind, name))


def give_every_container_of_the_head_the_token(objects: list[Object]) -> None:
    head(objects)["containers"][0]["volumeMounts"].append({"name": "api-token", "mountPath": "/token"})


def forbid_evictions_of_the_gateway(objects: list[Object]) -> None:
    named(objects, "PodDisruptionBudget", "gateway")["spec"] = {
        "minAvailable": 2,
        "selector": {"matchLabels": {"app": "gateway"}},
    }


FAULTS: list[tuple[Any, Callable[[list[Object]], Any], str]] = [
    (
        lints.without_memory_limit,
        lambda o: pod(o, "Job", "weights")["containers"][0]["resources"].pop("limits"),
        "weights/weights",
    ),
    (
        lints.with_more_rights_than_needed,
        lambda o: pod(o, "Deployment", "gateway")["containers"][0]["securityContext"].update(
            readOnlyRootFilesystem=False
        ),
        "gateway/gateway",
    ),
    (
        lints.probes_without_timeout,
        lambda o: pod(o, "StatefulSet", "nats")["containers"][0]["startupProbe"].pop("timeoutSeconds"),
        "nats/nats: startupProbe",
    ),
    (
        lints.without_probes,
        lambda o: pod(o, "Deployment", "dispatcher")["containers"][0].pop("livenessProbe"),
        "dispatcher/",
    ),
    (
        lints.with_a_token_of_the_api_server,
        lambda o: pod(o, "Job", "topology").pop("automountServiceAccountToken"),
        "topology",
    ),
    (lints.with_a_token_of_the_api_server, give_every_container_of_the_head_the_token, "ray-head/ray"),
    (
        lints.claims_without_class,
        lambda o: named(o, "PersistentVolumeClaim", "ledger-archive")["spec"].pop("storageClassName"),
        "ledger-archive",
    ),
    (
        lints.claims_without_class,
        lambda o: named(o, "StatefulSet", "redis")["spec"]["volumeClaimTemplates"][0]["spec"].pop("storageClassName"),
        "data",
    ),
    (lints.images_without_version, lambda o: head(o)["containers"][0].update(image="fleet-gpu:latest"), "ray-head/ray"),
    (lints.without_disruption_budget, lambda o: without(o, "PodDisruptionBudget", "ray-head"), "ray-head"),
    (
        lints.without_disruption_budget,
        lambda o: o.append(copy.deepcopy(named(o, "PodDisruptionBudget", "nats"))),
        "nats: has 2",
    ),
    (lints.guarded_from_one_side, forbid_evictions_of_the_gateway, "gateway"),
    (lints.without_priority, lambda o: without(o, "PriorityClass", "fleet-models"), "ray-a10g"),
    (lints.on_any_architecture, lambda o: head(o).pop("nodeSelector"), "ray-head"),
    (lints.on_spot_machines, lambda o: head(o).pop("affinity"), "ray-head"),
    (
        lints.on_spot_machines,
        lambda o: pod(o, "StatefulSet", "nats")["affinity"]["nodeAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]["nodeSelectorTerms"].append({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}),
        "nats",
    ),
    (
        lints.deaf_to_spot_notices,
        lambda o: ray(o)["rayClusterConfig"]["workerGroupSpecs"][1]["template"]["metadata"].update(
            annotations={"karpenter.sh/do-not-disrupt": "true"}
        ),
        "ray-a100",
    ),
    (lints.that_ask_for_names_five_times, lambda o: pod(o, "Deployment", "webhooks").pop("dnsConfig"), "webhooks"),
    (lints.cut_short, lambda o: head(o).pop("terminationGracePeriodSeconds"), "ray-head"),
    (
        lints.cut_short,
        lambda o: ray(o)["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0].update(env=[]),
        "ray-a10g: Ray drains for 30",
    ),
    (lints.mounts_of_nothing, lambda o: head(o).update(volumes=[]), "ray-head/autoscaler"),
    (lints.behind_no_wall, lambda o: without(o, "NetworkPolicy", "weights"), "weights"),
    (
        lints.dead_fields_of_ray,
        lambda o: ray(o).update(serviceUnhealthySecondThreshold=9),
        "serviceUnhealthySecondThreshold",
    ),
    (lints.dead_fields_of_ray, lambda o: ray(o).update(upgradeStrategy={"type": "None"}), "upgradeStrategy"),
    (lints.dead_fields_of_ray, lambda o: ray(o).pop("suspend"), "suspend"),
    (
        lints.dead_fields_of_ray,
        lambda o: ray(o)["rayClusterConfig"].pop("gcsFaultToleranceOptions"),
        "gcsFaultTolerance",
    ),
]


@pytest.mark.parametrize(
    ("lint", "make", "told"), FAULTS, ids=[f"{lint.__name__}-{n}" for n, (lint, _, _) in enumerate(FAULTS)]
)
def test_a_lint_notices_its_fault(
    lint: Callable[[list[Object]], list[str]], make: Callable[[list[Object]], Any], told: str
) -> None:
    objects = rendered(*LASTING, "tasks")
    make(objects)
    assert any(line.startswith(told) for line in lint(objects))


def test_every_lint_has_a_fault_that_it_notices() -> None:
    assert {lint for lint, _, _ in FAULTS} == set(LINTS)
