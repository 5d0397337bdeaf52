"""The conclusion of an evaluation in one line, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.lab.evaluation.report import DriftReport, Interval, Money, PolicyRow, Promise
from fleet.lab.metrics.curve import MIN_GAP
from fleet.model.calibration import Guard

FEWEST_ROWS = 50
"""Minimum rows; with fewer the interval of an APGR spans most of what is possible."""


def undefined(n: int, gap: float, gap_ci: Interval | None) -> str | None:
    """Return why this data supports no statement on the gap between weak and strong; None where it does."""
    if n < FEWEST_ROWS:
        return f"{n} rows are too few to conclude anything: it takes {FEWEST_ROWS}"
    if gap < MIN_GAP:
        return f"strong is right {_points(gap)} more often than weak: with less than 2 points APGR says nothing"
    if gap_ci is None or gap_ci[0] <= 0:
        return f"strong is right {_points(gap)} more often than weak, but that may be chance: APGR says nothing"
    return None


def unpromised(promises: Sequence[Promise]) -> str | None:
    """Return why the promise cannot be made with so few labels; None where it can."""
    for promise in promises:
        if promise.labels_missing:
            needed = promise.labels + promise.labels_missing
            return (
                f"{promise.labels} labels cannot promise a risk of {promise.risk:g} at {promise.delta:g}: "
                f"it takes at least {needed}, and everything escalates until then"
            )
    return None


def conclusion(
    guard: Guard | None,
    confidence: PolicyRow,
    money: Money | None,
    promises: Sequence[Promise],
    drift: DriftReport | None,
) -> str:
    """Conclude in one line, the worst news first."""
    said = [_off(guard), _drift(drift), _promise(promises), _worth(confidence), _operation(confidence, money)]
    return "; ".join(part for part in said if part)


def _off(guard: Guard | None) -> str:
    match guard:
        case None:
            return ""
        case Guard.NO_BETTER_THAN_MIXING:
            return "the guard switches this cascade off: confidence sorts no better than random routing"
        case Guard.STRONG_DOES_NOT_GAIN:
            return "the guard switches this cascade off: strong does not gain on what escalates"


def _worth(confidence: PolicyRow) -> str:
    if confidence.apgr is None:
        return ""
    if confidence.apgr_ci is None or confidence.apgr_ci[0] <= 0.5:
        return f"confidence is not shown to beat random routing (APGR {confidence.apgr:.3f}): do not cascade on it"
    low, high = confidence.apgr_ci
    return (
        f"confidence recovers {confidence.apgr:.3f} [{low:.3f}, {high:.3f}] of the gap on average, random routing 0.5"
    )


def _operation(confidence: PolicyRow, money: Money | None) -> str:
    if confidence.escalation_rate == 1:
        return "no threshold can be promised from these rows: everything escalates"
    cost = f" at {money.chosen:.0%} of the price of always-strong" if money else ""
    return f"the chosen threshold escalates {confidence.escalation_rate:.0%}{cost}"


def _promise(promises: Sequence[Promise]) -> str:
    if not promises:
        return ""
    worst = max(promise.methods[0].violation_rate for promise in promises)
    kept = all(promise.methods[0].violation_rate <= promise.delta for promise in promises)
    verdict = "holds" if kept else "DOES NOT HOLD"
    return f"the promise {verdict}: broken in at most {worst:.1%} of draws, {promises[0].delta:.0%} promised"


def _drift(drift: DriftReport | None) -> str:
    if drift is None:
        return ""
    if drift.alarm:
        return f"drift after {drift.after} of {drift.rows} rows of {drift.stream}: the guarantee is withdrawn"
    return f"no drift in {drift.rows} rows of {drift.stream}"


def _points(gap: float) -> str:
    return f"{100 * gap:.1f} points"
