"""What fell through: the jobs that went on to a dearer target, and the share that need not have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fleet.lab.weekly.answers import Flags, WeekOfAnswers
from fleet.lab.weekly.intervals import FEWEST, Interval, share_interval

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class FellThrough:
    """The jobs of a task that went on from a target for one reason, and what they cost after it."""

    target: str
    task: str
    reason: str
    jobs: int
    usd: float


@dataclass(frozen=True, slots=True)
class Servable:
    """The share of the doubted answers that would have served: good, or no worse than the stronger target's.

    `share` is None where too little is known; `labels_missing` says how many judged answers it lacks. `effective` is
    the number of evenly drawn answers that the judged ones are worth, `clipped` the share of weight that was taken from
    rarely drawn ones.
    """

    target: str
    task: str
    jobs: int
    judged: int
    effective: float
    clipped: float
    share: Interval | None
    labels_missing: int


def fell_through(week: WeekOfAnswers) -> Iterator[FellThrough]:
    """Yield what went on for each reason, the dearest first."""
    reasons = np.array(week.reason)
    found = [_of(week, reason, (reasons == reason) & ~week.kept) for reason in sorted(set(reasons[~week.kept]))]
    yield from sorted(found, key=lambda each: -each.usd)


def _of(week: WeekOfAnswers, reason: str, which: Flags) -> FellThrough:
    return FellThrough(week.target, week.task, str(reason), int(which.sum()), float(week.above_usd[which].sum()))


def servable(week: WeekOfAnswers) -> Servable:
    """Return what share of the doubted answers would have served."""
    judged = week.went_on
    missing = max(0, int(np.ceil(FEWEST - judged.effective)))
    return Servable(
        week.target,
        week.task,
        jobs=int(week.doubted.sum()),
        judged=len(judged),
        effective=judged.effective,
        clipped=judged.clipped,
        share=None if missing else share_interval(1.0 - judged.lost, judged.weights, ALPHA),
        labels_missing=missing,
    )
