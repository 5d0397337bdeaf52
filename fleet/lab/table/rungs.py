"""What the accounts say of each rung of a task's ladder: how often its answers are right, and at which price."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fleet.lab.weekly.answers import Judged, WeekOfAnswers
from fleet.lab.weekly.changes import Change, of_one_version, saved_by_skipping, skipped
from fleet.lab.weekly.intervals import FEWEST, Interval, share_interval

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Rung:
    """The answers of a target to a task: the share that was kept, the share that is good, and dollars for each.

    `good` is None where too few are judged, and `labels_missing` says how many judged answers it lacks. `disliked`
    counts answers that users called bad, or wanted a better one for, beside those that were drawn to be judged: how
    likely a user speaks up is not known, so they are shown and prove nothing.
    """

    task: str
    target: str
    answers: int
    kept: float
    usd: float
    judged: int
    good: Interval | None
    labels_missing: int
    disliked: int = 0
    version: str = ""


def rung_of(week: WeekOfAnswers, disliked: int = 0) -> Rung:
    """Return what is known of a target's answers to a task.

    Kept answers and those that went on are judged at rates of their own, so each kind counts for its share. Answers
    that went on for other reasons than doubt, as one that failed a gate, are taken to be as good as the doubted ones.
    """
    kept = float(week.kept.mean())
    kinds = [(share, judged) for share, judged in ((kept, week.stayed), (1.0 - kept, week.went_on)) if share > 0.0]
    missing = max(int(np.ceil(max(0.0, FEWEST - judged.effective))) for _, judged in kinds)
    return Rung(
        week.task,
        week.target,
        answers=len(week),
        kept=kept,
        usd=float(week.own_usd.mean()),
        judged=sum(len(judged) for _, judged in kinds),
        good=None if missing else _together(kinds),
        labels_missing=missing,
        disliked=disliked,
        version=week.version,
    )


def _together(kinds: Sequence[tuple[float, Judged]]) -> Interval:
    """Return the share of good answers over both kinds; each interval may miss in half of alpha."""
    found = [
        share_interval(judged.good.astype(np.float64), judged.weights, ALPHA / len(kinds)).times(share)
        for share, judged in kinds
    ]
    return Interval(sum(one.value for one in found), sum(one.low for one in found), sum(one.high for one in found))


def ladder_changes(weeks: Iterable[WeekOfAnswers], delta: float) -> Iterator[Change]:
    """Yield for each task the rung whose absence would save most, tested at level `delta` for the task's promise.

    The rung is chosen by prices, and by whether enough of its answers are judged, never by how they were judged: so the
    test of its answers is the only one. Two rungs are never left out at once: their answers were compared with the
    next rung's, not with those above it.
    """
    weeks = list(weeks)
    by_task: defaultdict[str, list[Change]] = defaultdict(list)
    for week in weeks:
        if len(week) > 1 and saved_by_skipping(week).sum() > 0.0:
            by_task[week.task].append(skipped(week, delta))
    best = (max(found, key=_worth_testing) for _, found in sorted(by_task.items()))
    yield from of_one_version(best, weeks)


def _worth_testing(change: Change) -> tuple[bool, float]:
    return not change.labels_missing, change.saved_usd.value
