"""Finds the faults of a cluster file, as far as they can be known without asking AWS.

    python -m deployments.clusterfile [cluster.yaml]

Ray's own schema checks the form. This checks that machines exist and have the resources claimed, that one machine has
room for every model of the profile `gpu`, and that no model may be placed where its memory does not suffice. Not
checked: quotas, zones, images, roles, prices.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from deployments.placement import CARD_80GB, LARGE_CARD_GIB, NodeType, machines, misplaced

VCPUS: Final[Mapping[str, int]] = {
    "m7i.large": 2,
    "m7i.xlarge": 4,
    "m7i.2xlarge": 8,
    "m7i.4xlarge": 16,
    "g5.xlarge": 4,
    "g5.2xlarge": 8,
    "g5.12xlarge": 48,
    "g5.48xlarge": 192,
    "p4d.24xlarge": 96,
    "p4de.24xlarge": 96,
    "p5.4xlarge": 16,
    "p5.48xlarge": 192,
    "p5en.48xlarge": 192,
}
"""vCPUs of every machine a cluster file may name; `policies/capacity/machines.yaml` knows the cards in them."""

SPOT_PROVIDER: Final = "deployments.aws.SpotFirstProvider"

Described = Mapping[str, Any]
"""A node type of the file."""


def problems(config: Mapping[str, Any]) -> list[str]:
    """Return one line for each fault of a file whose form is right; an empty list if there is none."""
    described: Mapping[str, Described] = config["available_node_types"]
    unknown = [line for name, each in described.items() for line in _unknown(name, each)]
    if unknown:
        return unknown
    workers = {name: each for name, each in described.items() if name != config["head_node_type"]}
    nodes = [_node_type(name, each, config["max_workers"]) for name, each in workers.items()]
    return [
        *_head(config["head_node_type"], described[config["head_node_type"]]),
        *(line for name, each in described.items() for line in _claims(name, each)),
        *(line for name, each in workers.items() for line in _numbers(name, each, config["max_workers"])),
        *_market(config),
        *_zones(config["provider"]),
        *_login(config),
        *misplaced(nodes, config["max_workers"]),
    ]


def _unknown(name: str, described: Described) -> Iterator[str]:
    instance = described["node_config"].get("InstanceType")
    if instance not in VCPUS:
        yield f"{_path(name)}: unknown machine {instance!r}; known are {', '.join(VCPUS)}"


def _node_type(name: str, described: Described, most: int) -> NodeType:
    instance, rented = described["node_config"]["InstanceType"], machines()
    card = rented.gpu_of(instance) if instance in rented.instances else None
    return NodeType(name, described["resources"], described.get("max_workers", most), card)


def _head(name: str, described: Described) -> Iterator[str]:
    if described["node_config"]["InstanceType"] in machines().instances:
        yield f"{_path(name)}: the head must have no card: it must not be taken away, nor cost what a card costs"
    if described.get("max_workers", 0):
        yield f"{_path(name)}.max_workers: must be 0: there is one head"


def _claims(name: str, described: Described) -> Iterator[str]:
    """Yield resources that the machine does not have. Claiming less than it has is a choice."""
    instance, rented = described["node_config"]["InstanceType"], machines()
    cards = rented.instances[instance].gpus if instance in rented.instances else 0
    large = cards if cards and rented.gpu_of(instance).memory_gib >= LARGE_CARD_GIB else 0
    for resource, there in (("CPU", VCPUS[instance]), ("GPU", cards), (CARD_80GB, large)):
        claimed = described["resources"].get(resource, 0)
        if claimed > there:
            yield f"{_path(name)}.resources.{resource}: {claimed} is more than the {there} of {instance}"


def _numbers(name: str, described: Described, all_workers: int) -> Iterator[str]:
    least, most = described.get("min_workers", 0), described.get("max_workers", all_workers)
    if least > most:
        yield f"{_path(name)}.min_workers: {least} is more than max_workers, {most}"


def _market(config: Mapping[str, Any]) -> Iterator[str]:
    if config["provider"].get("module") == SPOT_PROVIDER:
        return
    for name, each in config["available_node_types"].items():
        if each["node_config"].get("InstanceMarketOptions", {}).get("MarketType") == "spot":
            yield f"{_path(name)}: spot, and nothing falls back to on demand; provider.module must be {SPOT_PROVIDER}"


def _zones(provider: Mapping[str, Any]) -> Iterator[str]:
    zones = [zone.strip() for zone in provider.get("availability_zone", "").split(",") if zone.strip()]
    region = provider.get("region", "")
    if len(zones) < 2:
        yield "provider.availability_zone: must name two zones at least: one may be out of machines, or out altogether"
    for zone in zones:
        if zone[:-1] != region:
            yield f"provider.availability_zone: {zone} is not in the region {region}"


def _login(config: Mapping[str, Any]) -> Iterator[str]:
    for field in ("head_start_ray_commands", "worker_start_ray_commands"):
        starting = [command for command in config[field] if "ray start" in command]
        if not all("RAY_AUTH_MODE=token" in command for command in starting):
            yield f"{field}: must set RAY_AUTH_MODE=token: whoever reaches Ray without a login runs code on it"


def _path(name: str) -> str:
    return f"available_node_types.{name}"


def refused_by_ray(config: Mapping[str, Any]) -> str | None:
    """Return the complaint of Ray's own schema about the file, or None."""
    import jsonschema  # type: ignore[import-untyped]
    from ray.autoscaler._private.util import prepare_config, validate_config

    logging.getLogger("ray.autoscaler._private.util").setLevel(logging.ERROR)  # it warns of its own defaults
    try:
        validate_config(prepare_config(dict(config)))
    except jsonschema.ValidationError as error:
        return f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
    except (KeyError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def main(arguments: Sequence[str]) -> int:
    """Print every fault, and return the exit status: 1 if there is one."""
    path = Path(arguments[0] if arguments else "cluster.yaml")
    config = yaml.safe_load(path.read_text())
    refused = refused_by_ray(config)
    found = problems(config) if refused is None else [refused]
    for line in found or ["nothing wrong that can be known without asking AWS"]:
        sys.stdout.write(f"{path}: {line}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
