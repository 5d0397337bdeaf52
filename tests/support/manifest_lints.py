"""What may be wrong with a manifest. Each function returns a complaint for every place that has its fault."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from manifests import Object, Pod, named, of, pods

from deployments.profiles import GRACE_SECONDS

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")

ASKS_THE_API_SERVER = {("ray-head", "autoscaler")}
"""The containers that may hold a token of the API server: Ray's autoscaler makes and ends workers there."""


def without_memory_limit(objects: Sequence[Object]) -> list[str]:
    return [
        f"{pod.name}/{container['name']}: has no memory limit, or asks for another amount"
        for pod in pods(objects)
        for container in pod.containers
        if (limit := container["resources"].get("limits", {}).get("memory")) is None
        or limit != container["resources"]["requests"]["memory"]
        or "cpu" not in container["resources"]["requests"]
    ]


def with_more_rights_than_needed(objects: Sequence[Object]) -> list[str]:
    wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    found = []
    for pod in pods(objects):
        for container in pod.containers:
            security = {**pod.spec["securityContext"], **container["securityContext"]}
            right = security["runAsNonRoot"] is True and security["runAsUser"] > 0
            right &= security["seccompProfile"] == {"type": "RuntimeDefault"}
            if not right or any(security.get(name) != value for name, value in wanted.items()):
                found.append(f"{pod.name}/{container['name']}: may do more than it needs")
    return found


def probes_without_timeout(objects: Sequence[Object]) -> list[str]:
    """One second, the default, ends what is merely busy."""
    return [
        f"{pod.name}/{container['name']}: {probe} has no timeoutSeconds of 2 or more"
        for pod in pods(objects)
        for container in pod.containers
        for probe in PROBES
        if probe in container and container[probe].get("timeoutSeconds", 1) < 2
    ]


def without_probes(objects: Sequence[Object]) -> list[str]:
    """Ray's containers have the probes that KubeRay gives them."""
    return [
        f"{pod.name}/{container['name']}: nobody can tell whether it is ready and lives"
        for pod in pods(objects)
        if pod.kind in ("Deployment", "StatefulSet")
        for container in pod.spec["containers"]
        if not {"readinessProbe", "livenessProbe"} <= set(container)
    ]


def with_a_token_of_the_api_server(objects: Sequence[Object]) -> list[str]:
    found = [
        f"{pod.name}: mounts a token"
        for pod in pods(objects)
        if pod.spec.get("automountServiceAccountToken") is not False
    ]
    for pod in pods(objects):
        tokens = {
            volume["name"]
            for volume in pod.spec.get("volumes", ())
            if any("serviceAccountToken" in source for source in volume.get("projected", {}).get("sources", ()))
        }
        for container in pod.containers:
            mounted = tokens & {mount["name"] for mount in container.get("volumeMounts", ())}
            if mounted and (pod.name, container["name"]) not in ASKS_THE_API_SERVER:
                found.append(f"{pod.name}/{container['name']}: mounts a token")
    return found


def claims(objects: Sequence[Object]) -> list[Object]:
    made = [claim for each in of(objects, "StatefulSet") for claim in each["spec"].get("volumeClaimTemplates", ())]
    return [*of(objects, "PersistentVolumeClaim"), *made]


def claims_without_class(objects: Sequence[Object]) -> list[str]:
    """The default class of a cluster may be one whose disks go with their claim, or none."""
    return [
        f"{each['metadata']['name']}: names no class of disks"
        for each in claims(objects)
        if "storageClassName" not in each["spec"]
    ]


def images_without_version(objects: Sequence[Object]) -> list[str]:
    return [
        f"{pod.name}/{container['name']}: {container['image']} is not one version"
        for pod in pods(objects)
        for container in pod.containers
        if not re.search(r":v?\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?$|@sha256:[0-9a-f]{64}$", container["image"])
    ]


def budgets(objects: Sequence[Object], pod: Pod) -> list[dict[str, Any]]:
    """Return the specs of the PodDisruptionBudgets for a pod."""
    return [
        each["spec"]
        for each in of(objects, "PodDisruptionBudget")
        if each["spec"]["selector"]["matchLabels"].items() <= pod.labels.items()
    ]


def without_disruption_budget(objects: Sequence[Object]) -> list[str]:
    """One budget each: with two of them the eviction API refuses every request."""
    return [
        f"{pod.name}: has {len(found)} disruption budgets"
        for pod in pods(objects)
        if pod.lasts and len(found := budgets(objects, pod)) != 1
    ]


def guarded_from_one_side(objects: Sequence[Object]) -> list[str]:
    """A pod that no eviction may end is not to be chosen by Karpenter either, which would wait for it for ever."""
    return [
        f"{pod.name}: may not be evicted, and Karpenter is not told"
        for pod in pods(objects)
        if any(each.get("minAvailable") == pod.replicas for each in budgets(objects, pod))
        and pod.annotations.get("karpenter.sh/do-not-disrupt") != "true"
    ]


def without_priority(objects: Sequence[Object]) -> list[str]:
    known = {each["metadata"]["name"] for each in of(objects, "PriorityClass")}
    return [
        f"{pod.name}: its priority {pod.spec.get('priorityClassName')} is not defined"
        for pod in pods(objects)
        if pod.spec.get("priorityClassName") not in known
    ]


def on_any_architecture(objects: Sequence[Object]) -> list[str]:
    return [
        f"{pod.name}: may land where its image does not run"
        for pod in pods(objects)
        if pod.spec.get("nodeSelector", {}).get("kubernetes.io/arch") != "amd64"
    ]


def on_spot_machines(objects: Sequence[Object]) -> list[str]:
    """Workers alone may go in two minutes: Serve starts their replicas elsewhere."""
    found = []
    for pod in pods(objects):
        node = pod.spec.get("affinity", {}).get("nodeAffinity", {})
        terms = node.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [])
        forbidden = [
            {(each["key"], each["operator"], *each["values"]) for each in term["matchExpressions"]} for term in terms
        ]
        spot = {("karpenter.sh/capacity-type", "NotIn", "spot"), ("eks.amazonaws.com/capacityType", "NotIn", "SPOT")}
        if pod.kind != "RayWorker" and not (forbidden and all(spot <= term for term in forbidden)):
            found.append(f"{pod.name}: may land on a spot machine")
    return found


def deaf_to_spot_notices(objects: Sequence[Object]) -> list[str]:
    """Karpenter evicts no pod with the annotation, also when its spot machine is about to go (disruption.md, 1.14)."""
    return [
        f"{pod.name}: may land on a spot machine, and is not told that it goes"
        for pod in pods(objects)
        if pod.kind == "RayWorker" and ("karpenter.sh/do-not-disrupt" in pod.annotations or budgets(objects, pod))
    ]


def that_ask_for_names_five_times(objects: Sequence[Object]) -> list[str]:
    return [
        f"{pod.name}: asks for a provider's name with every domain of the cluster behind it first"
        for pod in pods(objects)
        if {"name": "ndots", "value": "2"} not in pod.spec.get("dnsConfig", {}).get("options", ())
    ]


def cut_short(objects: Sequence[Object]) -> list[str]:
    """What a replica may take to finish < how long Ray drains < how long the pod has, with time to end in."""
    found = []
    for pod in pods(objects):
        if pod.kind in ("RayHead", "RayWorker"):
            variables = {each["name"]: each.get("value") for each in pod.spec["containers"][0]["env"]}
            drains = float(variables.get("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", 30))
            if not GRACE_SECONDS < drains <= pod.spec.get("terminationGracePeriodSeconds", 30) - 10:
                found.append(f"{pod.name}: Ray drains for {drains} s")
    return found


def mounts_of_nothing(objects: Sequence[Object]) -> list[str]:
    return [
        f"{pod.name}/{container['name']}: mounts {mount['name']}, which is no volume"
        for pod in pods(objects)
        for container in pod.containers
        for mount in container.get("volumeMounts", ())
        if mount["name"] not in {*(volume["name"] for volume in pod.spec.get("volumes") or ()), *pod.claims}
    ]


def behind_no_wall(objects: Sequence[Object]) -> list[str]:
    """Each pod has a policy of its own beside those for all."""
    rules = [each["spec"]["podSelector"].get("matchLabels") for each in of(objects, "NetworkPolicy")]
    return [
        f"{pod.name}: no network policy says where it may go"
        for pod in pods(objects)
        if not any(labels and labels.items() <= pod.labels.items() for labels in rules)
    ]


def dead_fields_of_ray(objects: Sequence[Object]) -> list[str]:
    """Fields that KubeRay 1.7 does not read (ray-operator/apis/ray/v1/rayservice_types.go), and those it needs.

    With `upgradeStrategy: None` it hands the new configuration to the old code.
    """
    found = []
    for each in of(objects, "RayService"):
        spec = each["spec"]
        dead = {"serviceUnhealthySecondThreshold", "deploymentUnhealthySecondThreshold"} & set(spec)
        found += [f"{name}: does nothing" for name in sorted(dead)]
        if spec.get("upgradeStrategy", {}).get("type", "NewCluster") != "NewCluster":
            found.append("upgradeStrategy: new images are never applied, or need a gateway that no job goes through")
        if spec.get("suspend") is not False:
            found.append("suspend: applying the file does not resume what was suspended for an upgrade")
        if "gcsFaultToleranceOptions" not in spec["rayClusterConfig"]:
            found.append("gcsFaultToleranceOptions: a head that dies takes its cluster along")
    return found


LINTS = (
    without_memory_limit,
    with_more_rights_than_needed,
    probes_without_timeout,
    without_probes,
    with_a_token_of_the_api_server,
    claims_without_class,
    images_without_version,
    without_disruption_budget,
    guarded_from_one_side,
    without_priority,
    on_any_architecture,
    on_spot_machines,
    deaf_to_spot_notices,
    that_ask_for_names_five_times,
    cut_short,
    mounts_of_nothing,
    behind_no_wall,
    dead_fields_of_ray,
)

__all__ = ["LINTS", "budgets", "claims", "named"]
