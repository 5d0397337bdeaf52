"""The input of a scaling decision, and the bounds it keeps to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.model.delivery import Depths
from fleet.model.scaling import Capacity, ColdStart, Load


@dataclass(frozen=True, slots=True)
class ScalingInputs:
    """A reading of everything. `depths` is None while the broker is away.

    `loads` is the last report of every dispatcher, `capacity` the replicas of what is scaled, `ongoing` the requests
    that Serve counts on it.
    """

    depths: Depths | None
    loads: Sequence[Load]
    capacity: Capacity
    ongoing: float = 0.0

    def learned(self, target: str) -> ColdStart | None:
        """Return how long the target takes to start, as the last report that says so has it."""
        known = [load for load in self.loads if (at := load.replicas.get(target)) and at.cold_start is not None]
        last = max(known, key=lambda load: load.at, default=None)
        return None if last is None else last.replicas[target].cold_start

    @property
    def there(self) -> int:
        """Replicas that run or start."""
        return self.capacity.running + self.capacity.starting

    def fresh(self, stale_seconds: float, now: float) -> tuple[Load, ...]:
        """Return the reports that are recent enough."""
        return tuple(load for load in self.loads if now - load.at <= stale_seconds)


@dataclass(frozen=True, slots=True)
class ReplicaBounds:
    """The minimum and maximum number; an operator who fixes a number sets both to it."""

    least: int
    most: int
