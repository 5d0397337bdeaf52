"""What is known at the moment of a decision, and the bounds it keeps to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.model.delivery import Depths
from fleet.model.scaling import Capacity, Load


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at everything. `depths` is None while the broker is away.

    `loads` is the last report of every dispatcher, `capacity` what there is of the thing to scale, `ongoing` the
    requests that Serve counts on it.
    """

    depths: Depths | None
    loads: Sequence[Load]
    capacity: Capacity
    ongoing: float = 0.0

    @property
    def there(self) -> int:
        """Replicas that run or start."""
        return self.capacity.running + self.capacity.starting

    def fresh(self, stale_seconds: float, now: float) -> tuple[Load, ...]:
        """The reports that still say something."""
        return tuple(load for load in self.loads if now - load.at <= stale_seconds)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most there may be; an operator who keeps a number sets both to it."""

    least: int
    most: int
