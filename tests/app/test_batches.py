"""How the process that runs batches submits their rows."""

from __future__ import annotations

from fleet.app.batches import run_settings
from fleet.model.submission import Submission
from fleet.settings.environment import load


def row(number: int, team: str) -> Submission:
    messages = [{"role": "system", "content": f"Notes about {team}. " * 20}, {"role": "user", "content": str(number)}]
    return Submission(f"row-{number:016d}", "chat", {"messages": messages})


def test_rows_whose_prompts_begin_alike_follow_each_other():
    rows = [row(number, team) for number, team in enumerate(("sales", "support", "sales", "support", "sales"))]
    assert list(run_settings(load()).order(rows)) == [0, 2, 4, 1, 3]
