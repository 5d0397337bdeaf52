"""What the ledger's writer has done and what is left, as metrics."""

from __future__ import annotations

import pytest
from counted_jobs import series

from fleet.cli.books.ledger import writer_metrics
from fleet.ledger.writer import LedgerProgress


@pytest.mark.parametrize(
    ("progress", "lag_seconds"),
    [
        (LedgerProgress(), 0.0),
        (LedgerProgress(7, 2, 30, waiting_since=1000.0), 60.0),
        (LedgerProgress(7, 2, 30, waiting_since=2000.0), 0.0),  # the clock was put back
        (LedgerProgress(missed_lines=0), 0.0),
        (LedgerProgress(missed_lines=3), 0.0),
    ],
)
def test_the_metrics_are_the_writers_progress(progress: LedgerProgress, lag_seconds: float) -> None:
    missed = {} if progress.missed_lines is None else {("fleet.ledger_missed", ()): progress.missed_lines}
    assert series(list(writer_metrics(progress, 1060.0))) == missed | {
        ("fleet.ledger_lag_lines", ()): progress.waiting_lines,
        ("fleet.ledger_lag_seconds", ()): lag_seconds,
        ("fleet.ledger_lines", ()): progress.lines,
        ("fleet.ledger_errors", ()): progress.errors,
    }


def test_a_writer_that_stands_by_says_nothing_of_how_far_the_other_is() -> None:
    standing_by = LedgerProgress(waiting_since=1000.0, is_standby=True, missed_lines=3)
    assert {name for name, _ in series(list(writer_metrics(standing_by, 1060.0)))} == {
        "fleet.ledger_lines", "fleet.ledger_errors"
    }  # fmt: skip
