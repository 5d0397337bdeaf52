"""Renders a kustomization where there is no kubectl: no more than the fleet's files use, and whatever else is refused.

A test holds what comes out against kubectl's own, where that is installed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

Object = dict[str, Any]

KNOWN: Final = frozenset(
    {
        "apiVersion",
        "kind",
        "namespace",
        "resources",
        "components",
        "labels",
        "images",
        "patches",
        "generatorOptions",
        "configMapGenerator",
    }
)

NO_NAMESPACE: Final = frozenset({"Namespace", "PriorityClass", "StorageClass", "ClusterRole", "ClusterRoleBinding"})
"""Kinds that belong to the cluster as a whole."""


def render(folder: Path) -> list[Object]:
    """Return the objects of the kustomization in a folder. Raises: ValueError if it has a field not known here."""
    said = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := said.keys() - KNOWN:
        raise ValueError(f"{folder}: {', '.join(sorted(unknown))}: not known to this renderer")
    objects = [each for name in said.get("resources", ()) for each in _resource(folder / name)]
    objects += [_config_map(folder, each, said) for each in said.get("configMapGenerator", ())]
    for name in said.get("components", ()):
        part = yaml.safe_load((folder / name / "kustomization.yaml").read_text())
        objects = _changed(objects, part, folder / name)
    return _changed(objects, said, folder)


def _resource(path: Path) -> Iterator[Object]:
    if path.is_dir():
        yield from render(path)
    else:
        yield from (each for each in yaml.safe_load_all(path.read_text()) if each is not None)


def _config_map(folder: Path, said: Mapping[str, Any], whole: Mapping[str, Any]) -> Object:
    if whole.get("generatorOptions") != {"disableNameSuffixHash": True}:
        raise ValueError(f"{folder}: names with a hash are not known to this renderer")
    data = {Path(name).name: (folder / name).read_text() for name in said["files"]}
    meta: Object = {"name": said["name"], "namespace": whole["namespace"]}
    if labels := said.get("options", {}).get("labels"):
        meta["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def _changed(objects: Sequence[Object], said: Mapping[str, Any], folder: Path) -> list[Object]:
    """Return the objects with what a kustomization, or a component, changes of them."""
    made = [copy.deepcopy(each) for each in objects]
    for patch in said.get("patches", ()):
        change = yaml.safe_load((folder / patch["path"]).read_text())
        for each in made:
            if each["kind"] == patch["target"]["kind"]:
                _merge(
                    each,
                    {name: value for name, value in change.items() if name not in ("kind", "apiVersion", "metadata")},
                )
    for each in made:
        for labels in said.get("labels", ()):
            each["metadata"].setdefault("labels", {}).update(labels["pairs"])
        if "namespace" in said and each["kind"] not in NO_NAMESPACE:
            each["metadata"]["namespace"] = said["namespace"]
        for image in said.get("images", ()):
            _name_image(each, image)
    return made


def _merge(into: Object, change: Mapping[str, Any]) -> None:
    """Merge mappings; a list takes the place of the one before."""
    for name, value in change.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = copy.deepcopy(value)


def _name_image(value: Any, image: Mapping[str, str]) -> None:
    """Give every container that has the image its full name."""
    if isinstance(value, list):
        for each in value:
            _name_image(each, image)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name in ("containers", "initContainers"):
                for container in inner:
                    if container.get("image", "").partition(":")[0].partition("@")[0] == image["name"]:
                        container["image"] = _full(image, container["image"])
            _name_image(inner, image)


def _full(image: Mapping[str, str], before: str) -> str:
    name = image.get("newName", image["name"])
    if "digest" in image:
        return f"{name}@{image['digest']}"
    tag = image.get("newTag") or before.partition(":")[2]
    return f"{name}:{tag}" if tag else name
