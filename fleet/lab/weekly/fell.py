"""What fell through: the jobs that went on to a dearer target, and the share that need not have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fleet.lab.weekly.answers import Flags, Judged, WeekOfAnswers
from fleet.lab.weekly.intervals import FEWEST, Interval, share_interval
from fleet.lab.weekly.redraws import Redrawn

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class FellThrough:
    """The jobs of a task that went on from a target for one reason, and what they cost after it."""

    target: str
    task: str
    reason: str
    jobs: int
    usd: float
    version: str = ""


@dataclass(frozen=True, slots=True)
class Servable:
    """The share of the doubted answers that would have served: good, or no worse than the stronger target's.

    `share` is None where too little is known; `labels_missing` says how many judged answers it lacks. `effective` is
    the number of evenly drawn answers that the judged ones are worth, `clipped` the share of weight that was taken from
    rarely drawn ones.

    Some of the decisive answers, wrong where the stronger one was right, were asked for again: `redrawn` of them, of
    which the share `again` came out so again. `steady` is the share of all doubted answers that would. Both are None
    where `redraws_missing` says how many more it takes.
    """

    target: str
    task: str
    jobs: int
    judged: int
    effective: float
    clipped: float
    share: Interval | None
    labels_missing: int
    redrawn: int
    redraws_missing: int
    again: Interval | None
    steady: Interval | None
    version: str = ""


def fell_through(week: WeekOfAnswers) -> Iterator[FellThrough]:
    """Yield what went on for each reason, the dearest first."""
    reasons = np.array(week.reason)
    found = [_of(week, reason, (reasons == reason) & ~week.kept) for reason in sorted(set(reasons[~week.kept]))]
    yield from sorted(found, key=lambda each: -each.usd)


def _of(week: WeekOfAnswers, reason: str, which: Flags) -> FellThrough:
    jobs, usd = int(which.sum()), float(week.above_usd[which].sum())
    return FellThrough(week.target, week.task, str(reason), jobs, usd, week.version)


def servable(week: WeekOfAnswers, redraws: Redrawn = Redrawn()) -> Servable:  # noqa: B008  # a frozen value
    """Return what share of the doubted answers would have served."""
    judged = week.went_on
    missing = max(0, int(np.ceil(FEWEST - judged.effective)))
    again = None if redraws.missing else _again(redraws)
    return Servable(
        week.target,
        week.task,
        jobs=int(week.doubted.sum()),
        judged=len(judged),
        effective=judged.effective,
        clipped=judged.clipped,
        share=None if missing else share_interval(1.0 - judged.lost, judged.weights, ALPHA),
        labels_missing=missing,
        redrawn=redraws.asked,
        redraws_missing=redraws.missing,
        again=again,
        steady=None if missing or again is None else _steady(judged, again),
        version=week.version,
    )


def _again(redraws: Redrawn) -> Interval:
    same = np.repeat((1.0, 0.0), (redraws.same, redraws.asked - redraws.same))
    return share_interval(same, np.ones(redraws.asked), ALPHA / 2)


def _steady(judged: Judged, again: Interval) -> Interval:
    """Return the share that is wrong where the stronger answer is right, and would be again; both may miss in half."""
    lost = share_interval(judged.lost, judged.weights, ALPHA / 2)
    return Interval(lost.value * again.value, lost.low * again.low, lost.high * again.high)
