"""`fleet report diet`: what calls left out, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from accounts import Accounts, JobOf, call
from typer.testing import Result

from fleet.model.diet import Diet
from fleet.model.reason import Reason

DAYS = ("--since", "2026-03-01", "--until", "2026-03-31")
LEFT_OUT = Diet(((2, 8),), 3000)


@pytest.fixture
def accounts(fake_app: object, tmp_path: Path) -> Accounts:
    return Accounts(tmp_path / "data")


def test_a_fleet_without_diets_says_so(accounts: Accounts, invoke: Callable[..., Result]) -> None:
    accounts.book(0, JobOf().lines(1, call("small")))
    assert invoke("report", "diet", *DAYS).stdout.split() == ["no", "call", "had", "a", "diet"]


def test_what_was_left_out_is_shown_with_the_share_that_agreed(
    accounts: Accounts, invoke: Callable[..., Result], invoke_json: Callable[..., dict[str, Any]]
) -> None:
    accounts.book(0, JobOf("chat").lines(1, replace(call("small"), diet=LEFT_OUT)))
    second = replace(call("small", reason=Reason.SHADOW, number=2), diet=replace(LEFT_OUT, shadow=True, agreed=True))
    accounts.book(0, [JobOf("chat").comparison(1, second)])
    [row] = invoke_json("report", "diet", *DAYS)["rows"]
    assert (row["task"], row["calls"], row["left_out_tokens"], row["comparisons"]) == ("chat", 1, 3000, 1)
    assert (row["agreed"]["share"], row["agreed"]["n"]) == (1.0, 1)
    shown = invoke("report", "diet", *DAYS).stdout
    assert {"chat", "small", "3,000", "100.0%"} <= set(shown.split())
    assert "tokens, estimated" in shown
