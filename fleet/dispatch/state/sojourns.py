"""The time that jobs take on the targets served here, and the queues they found and would find now."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping

from fleet.model.delivery import WorkOf
from fleet.model.job import Lane
from fleet.model.view import Sojourn
from policies.routing import overload

READINGS = 512
"""Readings of the queues that are kept, some two minutes: jobs that waited longer count as if they had found that."""

Reading = tuple[float, Mapping[WorkOf, int]]


class Sojourns:
    """The means by target and lane. Queues are those of the last reading, whoever put the work there."""

    def __init__(self, targets: Iterable[str]) -> None:
        self._known: dict[str, dict[Lane, Sojourn]] = {target: {} for target in targets}
        self._readings: deque[Reading] = deque(maxlen=READINGS)

    def of(self, target: str) -> Mapping[Lane, Sojourn]:
        return dict(self._known[target])

    def read(self, at: float, work: Mapping[WorkOf, int]) -> None:
        """Take in a reading of the jobs stored for targets; `at` is the broker's time then."""
        self._readings.append((at, work))
        for target, lanes in self._known.items():
            for lane, each in lanes.items():
                waiting = work.get(WorkOf(target, lane), 0)
                if waiting != each.waiting:
                    lanes[lane] = overload.seen(each, waiting, each.turns_away)

    def answered(self, work: WorkOf, stored_at: float, started_at: float, now: float) -> None:
        """Learn from an answer to a job that was handed over at `stored_at` and called for at `started_at`."""
        lanes, found = self._known[work.target], self._found(work, stored_at)
        lanes[work.lane] = overload.answered(lanes.get(work.lane), now - stored_at, now - started_at, found, now)

    def _found(self, work: WorkOf, stored_at: float) -> float:
        """Return how many jobs were stored when a job was handed over, between the readings before and after it."""
        readings = self._readings
        if not readings or stored_at >= readings[-1][0]:
            return readings[-1][1].get(work, 0) if readings else 0
        place = bisect_right(readings, stored_at, key=_at)
        (after_at, after), (before_at, before) = readings[place], readings[max(0, place - 1)]
        share = (stored_at - before_at) / (after_at - before_at) if place else 0.0
        return (1 - share) * before.get(work, 0) + share * after.get(work, 0)

    def turn_away(self, target: str, lane: Lane, away: bool) -> None:
        """Note that a job has gone elsewhere because the target is overloaded, or that one has come there."""
        before = self._known[target].get(lane) if target in self._known else None
        if before is not None and before.turns_away is not away:
            self._known[target][lane] = overload.seen(before, before.waiting, away)


def _at(reading: Reading) -> float:
    return reading[0]
