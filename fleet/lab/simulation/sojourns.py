"""The times that jobs take on simulated targets, as dispatchers measure them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleet.model.job import Lane
from fleet.model.scaling import Capacity
from fleet.model.target import Target
from fleet.model.view import Sojourn
from policies.routing import overload

READ_SECONDS = 0.5
"""Interval between readings of the queues. Dispatchers read more often, which here would only cost time."""

SeenSojourns = Mapping[str, Mapping[Lane, Sojourn]]


class SimulatedSojourns:
    """The sojourns by target and lane. `stored` returns how many jobs of a lane are stored for a target now."""

    def __init__(
        self,
        targets: Mapping[str, Target],
        capacities: Callable[[], Mapping[str, Capacity]],
        stored: Callable[[str, Lane], int],
    ) -> None:
        self._targets = targets
        self._capacities = capacities
        self._stored = stored
        self._known: dict[str, dict[Lane, Sojourn]] = {}
        self._away: set[tuple[str, Lane]] = set()
        self._seen: SeenSojourns = {}
        self._read_at = -READ_SECONDS
        self._slowest = dict.fromkeys(Lane, 0.0)

    def at(self, now: float) -> SeenSojourns:
        """Return what a dispatcher last saw, after a new reading if one is due."""
        if now - self._read_at >= READ_SECONDS:
            self._read_at = now
            self._read()
        return self._seen

    def _read(self) -> None:
        self._seen = {
            name: {
                lane: overload.seen(each, self._stored(name, lane), (name, lane) in self._away)
                for lane, each in lanes.items()
            }
            for name, lanes in self._known.items()
        }
        capacities = self._capacities()
        self._slowest = dict.fromkeys(Lane, 0.0)
        for name, lanes in self._seen.items():
            for lane, each in lanes.items():
                expected = overload.expected_seconds(each, self._targets[name], capacities.get(name))
                self._slowest[lane] = max(self._slowest[lane], expected, each.run_seconds)

    def may_be_late(self, lane: Lane, left_seconds: float, return_at: float) -> bool:
        """Return whether any target may be too slow for a job with so much time left: mostly none is."""
        return self._slowest[lane] > return_at * left_seconds

    def answered(self, name: str, lane: Lane, seconds: float, run_seconds: float, found: int, now: float) -> None:
        lanes = self._known.setdefault(name, {})
        lanes[lane] = overload.answered(lanes.get(lane), seconds, run_seconds, found, now)

    def turn_away(self, name: str, lane: Lane, away: bool) -> None:
        """Note that a job has gone elsewhere because the target is overloaded, or that one has come there."""
        (self._away.add if away else self._away.discard)((name, lane))
