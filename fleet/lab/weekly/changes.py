"""What each change would have saved, and which are proposed: those that surely save and surely keep the promise.

A proposal is a claim about the coming weeks by what was seen in this one, so it is tested. The five changes with most
money in them are looked at, each with a fifth of the chance to be wrong. The others are not: with every question asked
the chance grows that one of the answers is luck.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from fleet.lab.metrics.curve import Array
from fleet.lab.weekly.answers import WeekOfAnswers
from fleet.lab.weekly.intervals import FEWEST, Interval, mean_interval, upper_share

ALPHA = 0.05
"""Maximum probability that a week's proposals hold one that breaks its promise or saves nothing."""
MOST_TESTED = 5
_STEPS = 40


class Kind(StrEnum):
    """The kinds of change."""

    THRESHOLD = "threshold"
    """Keep answers from a lower confidence on."""
    TABLE = "table"
    """Ask the next target at once: this one is seldom kept."""
    ADAPTER = "adapter"
    """Answer with an adapter that its gates let pass (see `fleet.lab.weekly.adapters`)."""


class Verdict(StrEnum):
    """What is said of a change."""

    PROPOSED = "proposed"
    NO_SAVING = "no_saving"
    """It is not sure to save anything."""
    BREAKS_PROMISE = "breaks_promise"
    """It is not sure to keep the promise."""
    LABELS_MISSING = "labels_missing"
    """The data cannot say: too few answers are judged."""
    SEVERAL = "several"
    """Several adapters, or one and none, answered at this target: the rules would change all of them."""
    NOT_TRIED = "not_tried"
    """Nobody has tried the adapter on questions that it was not trained on."""
    STOPPED = "stopped"
    """A gate stopped the adapter."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change and its outcome on the week: `saved_usd` with its interval, `lost` the bound of what it keeps wrongly.

    `threshold` is the confidence proposed, `adapter` the digest of the version. `n` is the number of jobs, or for an
    adapter of questions, that the saving is counted over, and `labels_missing` how many judged answers it lacks.
    `version` is that of the answers it is about (see WeekOfAnswers).
    """

    kind: Kind
    target: str
    task: str
    verdict: Verdict
    n: int
    saved_usd: Interval
    lost: float
    threshold: float | None = None
    labels_missing: int = 0
    adapter: str | None = None
    version: str = ""


def changes(weeks: Sequence[WeekOfAnswers]) -> list[Change]:
    """Return the changes with most money in them, tested; what saves most first."""
    asked = [(_money_in(kind, week), kind, week) for week in weeks for kind in (Kind.THRESHOLD, Kind.TABLE)]
    worth = sorted((each for each in asked if each[0] > 0.0), key=lambda each: -each[0])[:MOST_TESTED]
    alpha = ALPHA / MOST_TESTED
    found = [_threshold(week, alpha) if kind is Kind.THRESHOLD else skipped(week, alpha) for _, kind, week in worth]
    return sorted(of_one_version(found, weeks), key=lambda each: -each.saved_usd.value)


def of_one_version(found: Iterable[Change], weeks: Iterable[WeekOfAnswers]) -> list[Change]:
    """Return the changes, without a proposal where several versions of a target answered the task."""
    versions = Counter((each.target, each.task) for each in weeks)
    return [
        replace(each, verdict=Verdict.SEVERAL)
        if each.verdict is Verdict.PROPOSED and versions[each.target, each.task] > 1
        else each
        for each in found
    ]


def _money_in(kind: Kind, week: WeekOfAnswers) -> float:
    """Return the most that such a change could save."""
    if len(week) < 2:
        return 0.0
    if kind is Kind.THRESHOLD:
        return float(week.above_usd[week.doubted].sum())
    return float(saved_by_skipping(week).sum())


def _threshold(week: WeekOfAnswers, alpha: float) -> Change:
    """Try lower and lower thresholds until one is not sure to keep the promise; return the last that was.

    The loss of what is kept already is bounded once, that of what would be kept as well at each step, both at half of
    alpha / 2. Testing in a fixed order needs no correction for the number of steps.
    """
    kept_lost = upper_share(week.stayed.lost, week.stayed.weights, alpha / 4) * float(week.kept.mean())
    found, lost = None, kept_lost
    for threshold in _steps(week.confidence[week.doubted]):
        new = week.doubted & (week.confidence >= threshold)
        judged = week.went_on.those(week.went_on.confidence >= threshold)
        bound = kept_lost + upper_share(judged.lost, judged.weights, alpha / 4) * float(new.mean())
        if bound > week.risk:
            break
        found, lost = threshold, bound
    threshold = found if found is not None else float(np.median(week.confidence[week.doubted]))
    saved = _total(np.where(week.doubted & (week.confidence >= threshold), week.above_usd, 0.0), alpha / 2)
    missing = _missing(week)
    verdict = _verdict(found is not None, saved, missing)
    return Change(
        Kind.THRESHOLD, week.target, week.task, verdict, len(week), saved, lost, found, missing, None, week.version
    )


def _steps(doubted: Array) -> Iterator[float]:
    """Yield thresholds that keep more and more of the doubted answers: each a fortieth more, then all."""
    for share in np.arange(1, _STEPS + 1) / _STEPS:
        yield float(np.quantile(doubted, 1.0 - share, method="inverted_cdf"))


def _missing(week: WeekOfAnswers) -> int:
    return max(0, *(int(np.ceil(FEWEST - each.effective)) for each in (week.went_on, week.stayed)))


def skipped(week: WeekOfAnswers, alpha: float) -> Change:
    """Try to send every job to the next target at once: what this one charges is saved, what it kept is paid above."""
    saved = _total(saved_by_skipping(week), alpha / 2)
    lost = upper_share(week.stayed.gained, week.stayed.weights, alpha / 2) * float(week.kept.mean())
    missing = max(0, int(np.ceil(FEWEST - week.stayed.effective))) if week.kept.any() else 0
    verdict = _verdict(lost <= week.risk or not week.kept.any(), saved, missing)
    return Change(
        Kind.TABLE, week.target, week.task, verdict, len(week), saved, lost, None, missing, None, week.version
    )


def saved_by_skipping(week: WeekOfAnswers) -> Array:
    """Return what each job saves in dollars if it goes to the next target at once."""
    saved: Array = week.own_usd - np.where(week.kept, week.next_usd, 0.0)
    return saved


def _total(saved: Array, alpha: float) -> Interval:
    """Return what a week of so many jobs saves."""
    return mean_interval(saved, min(0.0, float(saved.min())), float(saved.max()), alpha).times(len(saved))


def _verdict(keeps_promise: bool, saved: Interval, missing: int) -> Verdict:
    if missing:
        return Verdict.LABELS_MISSING
    if not keeps_promise:
        return Verdict.BREAKS_PROMISE
    return Verdict.PROPOSED if saved.low > 0.0 else Verdict.NO_SAVING
