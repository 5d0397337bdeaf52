"""How `fleet calibrate` names calibrations and shows what became of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from fleet.model.calibration import CalibrationKey, Threshold
from fleet.model.errors import ConfigError

if TYPE_CHECKING:
    from fleet.learning.fitting import Outcome
    from fleet.learning.labels import Collected


def words_of(key: CalibrationKey) -> str:
    """`llama-8b/classify.intent/token`; `*` stands for any."""
    return f"{key.target}/{key.family}/{key.kind}"


def key_of(words: str) -> CalibrationKey:
    """Raises: ConfigError."""
    parts = words.split("/")
    if len(parts) != 3 or not all(parts):
        raise ConfigError("--roll-back", "must be <target>/<family>/<kind>, such as 'llama-8b/*/*'")
    return CalibrationKey(*parts)


def view(outcomes: Sequence[Outcome]) -> Table:
    """One row per key. Brier score and ECE are those on held-out labels."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("calibration")
    table.add_column("labels", justify="right")
    table.add_column("fit")
    for column in ("Brier", "ECE (floor)", "threshold"):
        table.add_column(column, justify="right")
    table.add_column("")
    for each in outcomes:
        table.add_row(*_cells(each))
    return table


def _cells(outcome: Outcome) -> tuple[str, ...]:
    found, verdict = outcome.calibration, outcome.verdict
    brier = "" if verdict is None else f"{_number(verdict.brier_before)} → {_number(verdict.brier)}"
    ece = "" if verdict is None else f"{_number(verdict.ece)} ({_number(verdict.ece_floor)})"
    return (
        words_of(outcome.key),
        f"{outcome.labels:,}",
        "" if found is None else str(found.scorer.fit),
        brier,
        ece,
        "" if found is None else _threshold(found.threshold),
        f"{'accepted' if outcome.accepted else 'refused'}: {outcome.reason}{_guard(outcome)}",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _threshold(threshold: Threshold | None) -> str:
    if threshold is None:
        return "by the rules"
    if threshold.value < math.inf:
        return f"{threshold.value:.3f}"
    return f"all escalate ({threshold.labels_missing} labels missing)" if threshold.labels_missing else "all escalate"


def _guard(outcome: Outcome) -> str:
    guard = None if outcome.calibration is None else outcome.calibration.guard
    return "" if guard is None else f"; cascade off: {guard.replace('_', ' ')}"


def unused_lines(found: Collected) -> Iterator[str]:
    """What was said and could not be used, and why."""
    for reason, count in sorted(found.unused.items()):
        yield f"{count:,} feedback not used: {reason}"
    if found.unreadable:
        yield f"{found.unreadable:,} messages could not be read and were skipped"


def as_json(found: Collected, outcomes: Sequence[Outcome], *, written: bool) -> dict[str, Any]:
    return {
        "labels": len(found.labels),
        "unused": {str(reason): count for reason, count in sorted(found.unused.items())},
        "unreadable": found.unreadable,
        "written": written,
        "calibrations": [_record(each) for each in outcomes],
    }


def _record(outcome: Outcome) -> dict[str, Any]:
    found, verdict = outcome.calibration, outcome.verdict
    threshold = None if found is None else found.threshold
    finite = threshold is not None and threshold.value < math.inf
    return {
        "key": words_of(outcome.key),
        "labels": outcome.labels,
        "accepted": outcome.accepted,
        "reason": outcome.reason,
        "version": None if found is None else found.version,
        "fit": None if found is None else str(found.scorer.fit),
        "strong": None if found is None else found.strong,
        "brier_before": None if verdict is None else verdict.brier_before,
        "brier": None if verdict is None else verdict.brier,
        "ece": None if verdict is None else verdict.ece,
        "ece_floor": None if verdict is None else verdict.ece_floor,
        "mode": None if threshold is None else str(threshold.mode),
        "threshold": threshold.value if threshold is not None and finite else None,
        "escalates_all": threshold is not None and not finite,
        "labels_missing": None if threshold is None else threshold.labels_missing,
        "guard": None if found is None or found.guard is None else str(found.guard),
    }
