"""The time and the price of a start: a new machine fetches the weights, and is paid for while it does nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from policies.capacity.machines import Machines
from policies.capacity.memory import GIB
from policies.capacity.plan import ServingOption, Wish


@dataclass(frozen=True, slots=True)
class Start:
    """The weights of a replica in 10^9 bytes, the seconds to fetch them, and what the machine costs meanwhile."""

    gigabytes: float
    seconds: float
    usd: float
    spot_usd: float | None


def start_of(row: ServingOption, machines: Machines, wish: Wish) -> Start:
    """Return the cost of a replica's start on a machine that has no weights yet.

    The whole machine is paid for, not the replica's share: it was bought for this. Loading, compiling and the start of
    the machine itself come on top.
    """
    rented = machines.instances[row.instance]
    gigabytes = row.memory.weights_gib * row.tensor_parallel * GIB / 1e9
    seconds = gigabytes * 1e3 / wish.fetch_mb_per_second
    spot = rented.spot_usd_per_hour
    return Start(
        gigabytes, seconds, rented.usd_per_hour * seconds / 3600, None if spot is None else spot * seconds / 3600
    )
