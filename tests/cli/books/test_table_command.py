"""`fleet table`: a table of tasks from the accounts or from a file, and its ladders started with one command."""

from __future__ import annotations

import asyncio
import csv
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from accounts import Accounts, JobOf, call, catalogue_file, rules_file
from fake_app import App
from typer.testing import Result

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]

UNTIL = ("--until", "2026-03-07")
RIGHT = {"plan.schedule": (0.3, 0.9), "analyse.behaviour": (0.9, 0.9)}
"""How often `small` and `large` answer a task rightly."""


@pytest.fixture
def fleet(fake_app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setenv("FLEET_RULES_PATH", str(rules_file(tmp_path)))
    monkeypatch.setenv("FLEET_CATALOGUE_PATH", str(catalogue_file(tmp_path)))
    return fake_app


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    rng, path = random.Random(4), tmp_path / "answers.csv"
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("task", "question", "small", "large"))
        for number in range(800):
            task = ("plan.schedule", "analyse.behaviour")[number % 2]
            out.writerow((task, f"question {number}", *(int(rng.random() < share) for share in RIGHT[task])))
    return path


def test_a_file_of_judged_answers_becomes_ladders_and_an_experiment(
    fleet: App, invoke: Invoke, invoke_json: InvokeJson, answers: Path
) -> None:
    command = ("table", str(answers), "--guarantee", "0.05,0.1")
    found = invoke_json(*command)
    assert (found["passed"], found["single"]) == (True, "large")
    assert found["ladders"] == {"analyse.behaviour": ["small", "large", "mini", "big"]}
    assert "analyse.behaviour: small > large > mini > big" in invoke(*command).stdout
    started = invoke_json(*command, "--start", "--share", "0.2")
    assert (started["stage"], started["shares"]["candidate"]) == ("running", 0.2)
    assert len(asyncio.run(fleet.experiments.read_all())) == 1


def test_the_accounts_become_ladders(fleet: App, invoke: Invoke, invoke_json: InvokeJson, tmp_path: Path) -> None:
    accounts, small = Accounts(tmp_path / "data"), replace(call("small"), confidence=0.4)
    accounts.book(1, [line for n in range(200) for line in JobOf().lines(n, small, call("large", number=2))])
    assert invoke_json("table", *UNTIL)["ladders"] == {"classify.intent": ["large", "mini", "big"]}
    shown = invoke("table", *UNTIL).stdout
    assert "classify.intent: large > mini > big" in shown and "100 labels missing" in shown
    assert "- large" in invoke("table", *UNTIL, "--start", "--dry-run", "--task", "classify.intent").stdout
    refused = invoke("table", *UNTIL, "--start", "--task", "chat")
    assert "--task: must be a task with a proposed ladder: classify.intent" in refused.stderr
    assert asyncio.run(fleet.experiments.read_all()) == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("large", "largest"), "line 1, column largest: must be a target of the catalogue"),
        (("question 0", " "), "line 2, column question: must not be empty"),
        (("plan.schedule,question 0", ",question 0"), "line 2, column task: must not be empty"),
    ],
)
def test_a_bad_file_is_refused_by_line_column_and_rule(
    fleet: App, invoke: Invoke, answers: Path, change: tuple[str, str], said: str
) -> None:
    answers.write_text(answers.read_text().replace(*change, 1))
    refused = invoke("table", str(answers))
    assert refused.exit_code == 1 and said in refused.stderr


def test_a_dry_run_of_nothing_is_refused(fleet: App, invoke: Invoke, answers: Path) -> None:
    assert "--dry-run: goes with --start" in invoke("table", str(answers), "--dry-run").stderr


def test_accounts_without_traffic_are_refused(fleet: App, invoke: Invoke, tmp_path: Path) -> None:
    Accounts(tmp_path / "data")
    refused = invoke("table", *UNTIL)
    assert refused.exit_code == 1 and "--until: must end days with traffic" in refused.stderr
