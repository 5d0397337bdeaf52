"""Finds room for the models of the profile `gpu`: machines with cards on one side, a replica's reservations on the
other. Arithmetic on `profiles.yaml` and on the memory model of `policies.capacity`; nothing here asks Ray.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import yaml
from pydantic import TypeAdapter

import policies.capacity
from deployments.profiles import ModelProfile, Profile, models
from policies.capacity.architecture import architecture_of
from policies.capacity.machines import Gpu, Machines
from policies.capacity.memory import KvDtype, ReplicaMemory, memory_of
from policies.capacity.quantization import Quantization

CAPACITY: Final = Path(policies.capacity.__file__).parent

CARD_24GB: Final = "card_24gb"

CARD_80GB: Final = "card_80gb"

CARDS: Final = {CARD_24GB: 21.0, CARD_80GB: 74.0}
"""The resources of the profile that stand for one card each, with the minimum memory in GiB of such a card."""

CPU_NODE: Final = "cpu_node"
"""The resource of the nodes without cards, which dispatchers ask for: beside a model one would keep the card."""

Resources = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class NodeType:
    """Nodes of one kind: the `resources` of each, and at most `most` of them. `card` is None if they have none.

    `usd_per_hour` is the price of a node on demand; 0 where nobody knows it, which no other node is dearer than.
    """

    name: str
    resources: Resources
    most: int
    card: Gpu | None
    usd_per_hour: float = 0.0

    @classmethod
    def rented(cls, name: str, resources: Resources, most: int, instance: str) -> NodeType:
        """Return the nodes of a kind that are such machines, with their card and price where the machine is known."""
        known = machines().instances
        if instance not in known:
            return cls(name, resources, most, None)
        return cls(name, resources, most, machines().gpu_of(instance), known[instance].usd_per_hour)


@cache
def machines() -> Machines:
    """Return the machines for rent, with their cards."""
    return TypeAdapter(Machines).validate_python(yaml.safe_load((CAPACITY / "machines.yaml").read_text()))


def bundles(described: ModelProfile) -> list[Resources]:
    """Return what a replica reserves: a bundle for each card. Serve puts the replica itself into the first."""
    workers = int(described.engine.get("tensor_parallel_size", 1))
    first = {**described.worker, "CPU": described.worker.get("CPU", 0) + described.replica_cpus}
    return [first, *[described.worker] * (workers - 1)]


def memory(target: str, described: ModelProfile, card: Gpu) -> ReplicaMemory:
    """Return the memory that the model needs of each card, in bfloat16 as in the profile."""
    known = yaml.safe_load((CAPACITY / "models.yaml").read_text())
    cards, share = described.engine.get("tensor_parallel_size", 1), described.engine["gpu_memory_utilization"]
    architecture = architecture_of(target, known[target]["config"])
    return memory_of(architecture, Quantization.BF16, KvDtype.BF16, card, cards, share)


def misplaced(workers: Sequence[NodeType], most: int) -> list[str]:
    """Return a line for each model with no room, too little, or a place too small or too dear, and each useless node.

    `most` bounds the nodes of all kinds together.
    """
    described = models(Profile.GPU)
    return [
        *(line for target, each in described.items() for line in _placing(target, each, workers)),
        *_room(workers, most),
        *_idle(workers),
    ]


def _placing(target: str, described: ModelProfile, workers: Sequence[NodeType]) -> Iterator[str]:
    reserved = bundles(described)
    whole = _together(reserved)
    if not any(_fits(whole, node.resources) for node in workers if node.most):
        wanted = ", ".join(f"{number:g} {name}" for name, number in whole.items())
        yield f"{target}: no node has room for a replica ({wanted})"
    yield from _too_dear(target, whole, workers)
    for node in workers:
        # Ray packs the bundles of a replica as it can: if no node has room for all, several with room for one will do.
        if node.card is not None and any(_fits(each, node.resources) for each in reserved):
            yield from _too_small(target, described, node.name, node.card)


def _too_small(target: str, described: ModelProfile, node: str, card: Gpu) -> Iterator[str]:
    there, context = memory(target, described, card), described.engine["max_model_len"]
    if not there.sequences(context):
        yield (
            f"{target}: may be placed on {node}, whose cards have {there.usable_gib:.1f} GiB to use where it needs "
            f"{there.needed_gib(1, context):.1f}; ask in profiles.yaml for a resource that only larger cards offer"
        )


def _too_dear(target: str, whole: Resources, workers: Sequence[NodeType]) -> Iterator[str]:
    """Yield the nodes that a replica would hold although cheaper ones have room: Ray knows no prices."""
    places = [node for node in workers if node.most and _fits(whole, node.resources)]
    cheapest = min(places, key=lambda node: node.usd_per_hour, default=None)
    for node in places:
        if cheapest is not None and node.usd_per_hour > cheapest.usd_per_hour:
            yield (
                f"{target}: may settle on {node.name} at ${node.usd_per_hour:.2f} an hour, though {cheapest.name} has "
                f"room at ${cheapest.usd_per_hour:.2f}; ask in profiles.yaml for a resource of {cheapest.name} alone"
            )


def _idle(workers: Sequence[NodeType]) -> Iterator[str]:
    wanted = [_together(bundles(each)) for each in models(Profile.GPU).values()]
    for node in workers:
        if CPU_NODE not in node.resources and not any(_fits(needed, node.resources) for needed in wanted):
            yield f"{node.name}: no model fits there, so no such node is ever used"


Used = list[tuple[NodeType, Resources]]
"""The nodes in use, each with its free resources."""


def _room(workers: Sequence[NodeType], most: int) -> Iterator[str]:
    """Place by first fit, largest replicas first: replicas without room might still fit if packed another way."""
    used: Used = []
    wanted = [(target, _together(bundles(each)), each.replicas[1]) for target, each in models(Profile.GPU).items()]
    for target, needed, replicas in sorted(wanted, key=lambda row: -row[1]["GPU"]):
        placed = sum(_place(needed, used, workers, most) for _ in range(replicas))
        if placed < replicas:
            yield f"{target}: room for {placed} of its {replicas} replicas; allow more nodes"


def _place(needed: Resources, used: Used, workers: Sequence[NodeType], most: int) -> bool:
    """Place the replica on a node in use that has room, or else on the smallest new one."""
    for index, (node, free) in enumerate(used):
        if _fits(needed, free):
            used[index] = node, _less(free, needed)
            return True
    there = [node.name for node, _ in used]
    found = [each for each in workers if there.count(each.name) < each.most and _fits(needed, each.resources)]
    if not found or len(used) >= most:
        return False
    smallest = min(found, key=lambda each: each.resources["GPU"])
    used.append((smallest, _less(smallest.resources, needed)))
    return True


def _together(reserved: Sequence[Resources]) -> Resources:
    names = dict.fromkeys(name for each in reserved for name in each)
    return {name: sum(each.get(name, 0) for each in reserved) for name in names}


def _fits(needed: Resources, free: Resources) -> bool:
    return all(free.get(name, 0) >= number for name, number in needed.items())


def _less(free: Resources, needed: Resources) -> Resources:
    return {name: number - needed.get(name, 0) for name, number in free.items()}
