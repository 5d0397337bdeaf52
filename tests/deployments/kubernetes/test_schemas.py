"""Every object is one that its API server would take, and no field is misspelt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from kubernetes_schemas import hold
from manifests import EVERYTHING, Object, named, rendered


@pytest.mark.proves(
    "Kubernetes, KubeRay 1.7, Karpenter and Prometheus' operator know every field of the manifests", how="schema"
)
@pytest.mark.parametrize("folder", EVERYTHING)
def test_every_object_of_a_folder_is_as_its_schema_says(folder: str) -> None:
    objects = rendered(folder)
    assert objects
    for each in objects:
        hold(each)


MISTAKES: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("Deployment", "gateway", lambda spec: spec.update(replica=2)),
    (
        "StatefulSet",
        "nats",
        lambda spec: spec["template"]["spec"]["containers"][0]["readinessProbe"].update(timeoutSecond=5),
    ),
    ("PodDisruptionBudget", "nats", lambda spec: spec.update(maxUnavailable=[1])),
    ("NetworkPolicy", "redis", lambda spec: spec["ingress"][0].update(ports={"port": 6379})),
    ("RayService", "fleet", lambda spec: spec.update(deploymentUnhealthySecondThreshold=1800)),
    ("RayService", "fleet", lambda spec: spec["rayClusterConfig"]["gcsFaultToleranceOptions"].update(storage={})),
    (
        "RayService",
        "fleet",
        lambda spec: spec["rayClusterConfig"]["headGroupSpec"]["template"]["spec"].update(nodeselector={}),
    ),
    ("NodePool", "fleet-models", lambda spec: spec["disruption"].update(consolidationPolicy="WhenUnderutilized")),
    ("EC2NodeClass", "fleet-models", lambda spec: spec.update(instanceStorePolicy="RAID1")),
    ("PodMonitor", "nats", lambda spec: spec["podMetricsEndpoints"][0].update(ports="x")),
]


@pytest.mark.parametrize(
    ("kind", "name", "make"), MISTAKES, ids=[f"{kind}-{n}" for n, (kind, _, _) in enumerate(MISTAKES)]
)
def test_a_mistake_is_refused(kind: str, name: str, make: Callable[[Any], Any]) -> None:
    document: Object = named(rendered(*EVERYTHING), kind, name)
    hold(document)
    make(document["spec"])
    with pytest.raises(jsonschema.ValidationError):
        hold(document)
