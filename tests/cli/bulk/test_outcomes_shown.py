"""How the counts of a batch's rows, and a batch without an answer, are shown."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from fleet.cli.bulk.results import show_end
from fleet.cli.bulk.views import as_json, outcomes, summary
from fleet.cli.output import NO_ANSWER, Output
from fleet.model.batch import Batch, BatchStatus, RowCount

ENDED = Batch(
    f"batch_{'1' * 24}",
    "acme",
    "/v1/chat/completions",
    f"file-{'0' * 24}",
    60.0,
    1.0,
    status=BatchStatus.COMPLETED,
    total=1902,
    completed=1901,
    failed=1,
    outcomes=(
        RowCount("best_effort", "out_of_money", 1900),
        RowCount("succeeded", "confident", 1),
        RowCount("budget_spent", None, 1),
    ),
)
TOLD = "1,900 best_effort (out_of_money), 1 succeeded (confident), 1 budget_spent"


def test_rows_are_counted_by_what_became_of_them_and_the_end_has_its_reason() -> None:
    assert outcomes(ENDED) == TOLD
    assert summary(ENDED).startswith(f"{ENDED.id}  completed, its budget spent: 1,902 of 1,902 rows")
    told = as_json(ENDED)
    assert told["reason"] == "budget_spent"
    assert told["outcomes"][0] == {"status": "best_effort", "reason": "out_of_money", "rows": 1900}
    assert json.dumps(told["outcomes"][-1]) == '{"status": "budget_spent", "reason": null, "rows": 1}'


def test_some_answers_are_an_end_as_any_other() -> None:
    shown = io.StringIO()
    show_end(Output(False, shown), ENDED, Path("out.jsonl"), {})
    assert shown.getvalue().splitlines()[1:] == [TOLD]


def test_waiting_for_a_batch_without_an_answer_has_an_exit_code_of_its_own() -> None:
    shown = io.StringIO()
    with pytest.raises(typer.Exit) as end:
        show_end(Output(True, shown), replace(ENDED, completed=0), Path("out.jsonl"), {"rows_written": 1})
    assert end.value.exit_code == NO_ANSWER
    assert json.loads(shown.getvalue())["rows_written"] == 1
