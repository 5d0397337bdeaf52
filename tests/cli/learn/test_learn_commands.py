"""`fleet learn`: what would begin, where turns stand, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_app import App
from training_examples import LARGE, SMALL, TASK, content, given
from typer.testing import Result

from deployments.profiles import AdapterSlots
from fleet.cli.learn.commands import run
from fleet.content.store import ContentStore
from fleet.content.vault import Vault
from fleet.ledger.database import database_url, engine_for
from fleet.model.turn import DoneStep, Turn, TurnStage, TurnStep
from fleet.settings.documents import shipped

KEY = bytes(range(32))
Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]
TURN = Turn(
    "schedule-1",
    SMALL,
    TASK,
    frozenset({"acme"}),
    (DoneStep(TurnStep.COLLECTED, 5.0, {"pairs": 1_200}),),
    changed_at=5.0,
)


@pytest.fixture
def collected(fake_app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """Twenty jobs of a tenant that agreed, which escalated."""
    monkeypatch.setenv("FLEET_CONTENT_KEY", base64.b64encode(KEY).decode())
    rules = yaml.safe_load(shipped("policies", "rules.yaml").read_text())
    rules["tasks"][TASK]["collect"] = True
    rules["training"] = {"tenants": ["acme"], "share": 1.0, "goal": 50}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    monkeypatch.setenv("FLEET_RULES_PATH", str(tmp_path / "rules.yaml"))
    engine = engine_for(database_url(f"sqlite:///{tmp_path / 'data' / 'content.sqlite3'}"))
    store = ContentStore(engine, Vault(KEY))
    store.open()
    store.write([content(number, given(SMALL, "None"), given(LARGE)) for number in range(20)])
    engine.dispose()
    return fake_app


def test_a_dry_run_says_what_there_is_to_teach_and_why_nothing_begins(collected: App, invoke_json: InvokeJson) -> None:
    found = invoke_json("learn", "run", "--dry-run")
    assert found["lessons"] == [
        {"task": TASK, "target": SMALL, "tenants": ["acme"], "pairs": 20, "why_not": f"{SMALL} takes no adapters"}
    ]
    assert found["turns"] == []


def test_a_run_without_enough_begins_nothing_and_says_so(collected: App, invoke: Invoke, tmp_path: Path) -> None:
    shown = invoke("learn", "run", "--folder", str(tmp_path / "learning")).stdout
    assert f"{SMALL} takes no adapters" in shown
    assert "no turn was begun" in shown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tenant", "globex"), "--tenant: 'globex' is not among the tenants that agreed"),
        (("--share", "0"), "--share: must be above 0 and at most 1"),
        (("--weeks", "-1"), "--weeks: must be above 0, and finite"),
        (("--weeks", "nan"), "--weeks: must be above 0, and finite"),
    ],
)
def test_a_run_that_cannot_be_is_refused(collected: App, invoke: Invoke, options: tuple[str, ...], said: str) -> None:
    assert said in invoke("learn", "run", "--dry-run", *options).stderr


def test_engines_that_serve_adapters_serve_what_is_trained_unless_told_otherwise():
    assert inspect.signature(run).parameters["rank"].default <= AdapterSlots().rank


def test_of_two_runs_in_one_folder_the_second_is_refused(collected: App, invoke: Invoke, tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another `fleet learn run` works in" in invoke("learn", "run", "--folder", str(tmp_path)).stderr


def test_status_shows_where_each_turn_stands(fake_app: App, invoke: Invoke, invoke_json: InvokeJson) -> None:
    asyncio.run(fake_app.turns.change(lambda _: TURN))
    [found] = invoke_json("learn", "status")["turns"]
    assert (found["stage"], found["next"], found["done"][0]["evidence"]) == ("running", "exported", {"pairs": 1_200})
    assert "collected, to be exported" in invoke("learn", "status").stdout


def test_undo_ends_a_turn_and_an_unknown_one_is_refused(fake_app: App, invoke: Invoke) -> None:
    asyncio.run(fake_app.turns.change(lambda _: TURN))
    assert "schedule-1 is undone: no use" in invoke("learn", "undo", "schedule-1", "--why", "no use").stdout
    [turn] = asyncio.run(fake_app.turns.read_all()).values()
    assert turn.stage is TurnStage.UNDONE
    assert "undone before (no use)" in invoke("learn", "undo", "schedule-1").stderr
    assert "'schedule-2' is none of the turns" in invoke("learn", "undo", "schedule-2").stderr
