"""The Kubernetes manifests as `kubectl apply -k` sends them, and the pods in them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from kustomize import render

import deployments

FOLDER: Final = Path(deployments.__file__).parent / "kubernetes"

LASTING: Final = (".", "content")
"""What `kubectl apply -k` keeps running, by folder."""

EVERYTHING: Final = (*LASTING, "tasks", "client", "aws", "monitoring")

Object = dict[str, Any]


@cache
def printed(folder: str) -> str:
    """Return what kubectl makes of a kustomization; the folder is absolute, or below deployments/kubernetes."""
    return str(yaml.dump_all(render(FOLDER / folder), Dumper=yaml.CSafeDumper, sort_keys=False))


@cache
def _read(folder: str) -> tuple[Object, ...]:
    return tuple(yaml.load_all(printed(folder), yaml.CSafeLoader))


def rendered(*folders: str) -> list[Object]:
    """Return the objects of the folders, for the caller to change."""
    return [copy.deepcopy(each) for folder in folders for each in _read(folder)]


def of(objects: Sequence[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each["kind"] in kinds]


def named(objects: Sequence[Object], kind: str, name: str) -> Object:
    return next(each for each in of(objects, kind) if each["metadata"]["name"] == name)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod template. `lasts` says whether something keeps it running; `claims` are volumes its StatefulSet makes."""

    name: str
    kind: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Mapping[str, Any]
    replicas: int = 1
    claims: tuple[str, ...] = ()

    @property
    def lasts(self) -> bool:
        return self.kind in ("Deployment", "StatefulSet", "RayHead")

    @property
    def containers(self) -> list[Mapping[str, Any]]:
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]


def _pod(name: str, kind: str, template: Mapping[str, Any], **more: Any) -> Pod:
    meta = template["metadata"]
    return Pod(name, kind, meta["labels"], meta.get("annotations", {}), template["spec"], **more)


def _of_ray(service: Object) -> Iterator[Pod]:
    """Return Ray's pods with the labels, and the head with the container, that KubeRay adds."""
    cluster = service["spec"]["rayClusterConfig"]
    options = {
        key: value
        for key, value in cluster["autoscalerOptions"].items()
        if key not in ("version", "idleTimeoutSeconds")
    }
    groups = [("RayHead", "ray-head", "head", cluster["headGroupSpec"])]
    groups += [("RayWorker", f"ray-{each['groupName']}", "worker", each) for each in cluster["workerGroupSpecs"]]
    for kind, name, node, group in groups:
        template = group["template"]
        labels = {**template["metadata"]["labels"], "ray.io/node-type": node}
        containers = list(template["spec"]["containers"])
        if node == "head":
            containers.append({"name": "autoscaler", "image": containers[0]["image"], **options})
        made = {
            "metadata": {**template["metadata"], "labels": labels},
            "spec": {**template["spec"], "containers": containers},
        }
        yield _pod(name, kind, made)


def pods(objects: Sequence[Object]) -> list[Pod]:
    """Return every pod that the objects make."""
    found: list[Pod] = []
    for each in objects:
        name, kind, spec = each["metadata"]["name"], each["kind"], each.get("spec", {})
        if kind in ("Deployment", "StatefulSet", "Job"):
            claims = tuple(claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", ()))
            found.append(_pod(name, kind, spec["template"], replicas=spec.get("replicas", 1), claims=claims))
        elif kind == "CronJob":
            found.append(_pod(name, kind, spec["jobTemplate"]["spec"]["template"]))
        elif kind == "RayService":
            found.extend(_of_ray(each))
    return found


def secrets_of(pod: Pod) -> set[str]:
    """Return the Secrets that a pod's containers see, whole or in part."""
    found = {volume["secret"]["secretName"] for volume in pod.spec.get("volumes", ()) if "secret" in volume}
    for volume in pod.spec.get("volumes", ()):
        found |= {each["secret"]["name"] for each in volume.get("projected", {}).get("sources", ()) if "secret" in each}
    for container in pod.containers:
        found |= {each["secretRef"]["name"] for each in container.get("envFrom", ()) if "secretRef" in each}
        for variable in container.get("env", ()):
            if key := variable.get("valueFrom", {}).get("secretKeyRef"):
                found.add(key["name"])
    return found
