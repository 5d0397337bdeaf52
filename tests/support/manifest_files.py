"""The Kubernetes manifests as they are written, before kubectl adds what all of them have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from manifests import FOLDER

IMAGES = yaml.safe_load((FOLDER / "common" / "kustomization.yaml").read_text())["images"]


def files(folder: Path) -> Iterator[Path]:
    """The files that a kustomization applies, those of the folders that it names among them."""
    for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        yield from files(folder / name) if (folder / name).is_dir() else [folder / name]


FILES = [path for folder in (".", "content", "tasks") for path in files(FOLDER / folder)]

DOCUMENTS: list[dict[str, Any]] = [document for path in FILES for document in yaml.safe_load_all(path.read_text())]


def of(kind: str) -> list[dict[str, Any]]:
    return [document for document in DOCUMENTS if document["kind"] == kind]


def named(kind: str, name: str) -> dict[str, Any]:
    return next(document for document in of(kind) if document["metadata"]["name"] == name)


def policy(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = named("NetworkPolicy", name)["spec"]
    return spec


def head_as_kuberay_labels_it() -> dict[str, Any]:
    template: dict[str, Any] = CLUSTER["headGroupSpec"]["template"]
    labels = {**template["metadata"]["labels"], "ray.io/node-type": "head"}
    return {**template, "metadata": {**template["metadata"], "labels": labels}}


RAY = named("RayService", "fleet")["spec"]

CLUSTER = RAY["rayClusterConfig"]

GROUPS = {group["groupName"]: group for group in CLUSTER["workerGroupSpecs"]}

PODS = {
    **{
        each["metadata"]["name"]: each["spec"]["template"]
        for each in (*of("StatefulSet"), *of("Deployment"), *of("Job"))
    },
    **{each["metadata"]["name"]: each["spec"]["jobTemplate"]["spec"]["template"] for each in of("CronJob")},
    "ray head": head_as_kuberay_labels_it(),
    **{f"ray {name}": group["template"] for name, group in GROUPS.items()},
}
