"""Names calibrations and shows the outcome of each for `fleet calibrate`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fleet.model.calibration import CalibrationKey, Threshold
from fleet.model.errors import ConfigError

if TYPE_CHECKING:
    from fleet.lab.learning.collected import CollectedLabels
    from fleet.lab.learning.fitting import FitOutcome


def key_of(words: str) -> CalibrationKey:
    """Return the key that the words name.

    Raises: ConfigError if they name none.
    """
    key = CalibrationKey.of(words.split("/"))
    if key is None:
        rule = "must be <target>/<family>/<kind>, such as 'llama-8b/*/*', and /<digest> for an adapter's"
        raise ConfigError("--roll-back", rule)
    return key


def view(outcomes: Sequence[FitOutcome]) -> Table:
    """Return each key's outcome, and under it the numbers behind it: Brier score and ECE are those on held-out labels.

    Lines instead of columns: keys and reasons are long, and neither may be cut off.
    """
    table = Table.grid()
    for each in outcomes:
        state = ("accepted", "green") if each.accepted else ("refused", "red")
        table.add_row(
            Text.assemble((str(each.key), "bold"), "  ", state, f": {each.reason}{_guard(each)}{_lost(each)}")
        )
        table.add_row(Padding(Text("; ".join(_numbers(each)), style="dim"), (0, 0, 0, 4)))
    return table


def _numbers(outcome: FitOutcome) -> Iterator[str]:
    found, verdict = outcome.calibration, outcome.verdict
    yield f"{outcome.labels:,} labels" + ("" if found is None else f", {found.scorer.fit}")
    if verdict is not None:
        yield f"Brier {_number(verdict.brier_before)} → {_number(verdict.brier)}"
        yield f"ECE {_number(verdict.ece)} (perfect {_number(verdict.ece_floor)})"
    if found is not None:
        yield f"threshold {_threshold(found.threshold)}"
    if found is not None and found.value_scorer is not None:
        yield f"answers sorted by the value of asking {found.strong or 'a stronger one'}"
    if (limits := outcome.limits) is not None:
        yield (
            f"escalates {limits.promised:.0%} of these labels: a threshold on this score must escalate"
            f" {limits.this_score:.0%}, a judge without a mistake {limits.any_judge:.0%}"
        )
        yield f"with so many labels no threshold can promise a risk below {limits.least_risk:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _threshold(threshold: Threshold | None) -> str:
    if threshold is None:
        return "by the rules"
    if threshold.value < math.inf:
        return f"{threshold.value:.3f}"
    return f"all escalate ({threshold.labels_missing} labels missing)" if threshold.labels_missing else "all escalate"


def _guard(outcome: FitOutcome) -> str:
    guard = None if outcome.calibration is None else outcome.calibration.guard
    return "" if guard is None else f"; cascade off: {guard.replace('_', ' ')}"


def _lost(outcome: FitOutcome) -> str:
    """Name the tasks the operator agreed to give up; if the calibration in force stays, its reason names them."""
    from fleet.lab.learning.fitting import names_of

    return f"; no longer knows {names_of(outcome.lost)}" if outcome.lost and outcome.accepted else ""


def unused_lines(found: CollectedLabels) -> Iterator[str]:
    """Yield a line for each kind of feedback that could not be used, with the reason."""
    for reason, count in sorted(found.unused.items()):
        yield f"{count:,} feedback not used: {reason}"
    if found.unreadable:
        yield f"{found.unreadable:,} messages could not be read and were skipped"


def as_json(found: CollectedLabels, outcomes: Sequence[FitOutcome], *, written: bool) -> dict[str, Any]:
    return {
        "labels": len(found.labels),
        "unused": {str(reason): count for reason, count in sorted(found.unused.items())},
        "unreadable": found.unreadable,
        "written": written,
        "calibrations": [_record(each) for each in outcomes],
    }


def _record(outcome: FitOutcome) -> dict[str, Any]:
    found, verdict, limits = outcome.calibration, outcome.verdict, outcome.limits
    threshold = None if found is None else found.threshold
    finite = threshold is not None and threshold.value < math.inf
    return {
        "key": str(outcome.key),
        "labels": outcome.labels,
        "accepted": outcome.accepted,
        "reason": outcome.reason,
        "lost_tasks": list(outcome.lost),
        "version": None if found is None else found.version,
        "fit": None if found is None else str(found.scorer.fit),
        "strong": None if found is None else found.strong,
        "brier_before": None if verdict is None else verdict.brier_before,
        "brier": None if verdict is None else verdict.brier,
        "ece": None if verdict is None else verdict.ece,
        "ece_floor": None if verdict is None else verdict.ece_floor,
        "sorted_by": None if found is None else "good" if found.value_scorer is None else "value",
        "mode": None if threshold is None else str(threshold.mode),
        "threshold": threshold.value if threshold is not None and finite else None,
        "escalates_all": threshold is not None and not finite,
        "labels_missing": None if threshold is None else threshold.labels_missing,
        "escalates": None if limits is None else limits.promised,
        "escalates_at_least": None if limits is None else limits.this_score,
        "any_judge_escalates_at_least": None if limits is None else limits.any_judge,
        "least_risk": None if limits is None else limits.least_risk,
        "guard": None if found is None or found.guard is None else str(found.guard),
    }
