"""`fleet ledger` against a fleet in memory and a real SQLite file."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_app import App
from ledger_lines import entry
from typer.testing import Result

from fleet.ledger.database import database_url, engine_for
from fleet.ledger.reading import EndedFilter, open_reader
from fleet.ledger.store import LedgerStore
from queues.memory import MemoryQueue


def publish(app: App, numbers: range) -> None:
    asyncio.run(MemoryQueue(app.fleet.broker).publish([entry(number) for number in numbers]))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is by default."""
    return tmp_path / "data" / "ledger.sqlite3"


def test_replay_writes_the_database_from_the_stream(
    fake_app: App, invoke_json: Callable[..., dict[str, Any]], path: Path
) -> None:
    publish(fake_app, range(25))
    assert invoke_json("ledger", "replay") == {"lines": 25}
    assert invoke_json("ledger", "replay") == {"lines": 25}
    with open_reader(f"sqlite:///{path}") as reader:
        assert len(reader.ended(EndedFilter())) == 25


def test_status_says_what_is_there_and_what_is_still_to_come(
    fake_app: App, invoke_json: Callable[..., dict[str, Any]], path: Path
) -> None:
    publish(fake_app, range(25))
    invoke_json("ledger", "replay")
    publish(fake_app, range(25, 30))

    said = invoke_json("ledger", "status")

    assert said.pop("last_line_age_seconds") >= 0
    assert said.pop("first_day") == said.pop("last_day")
    counts = {"lines": 25, "last_seq": 25, "waiting": 30, "unreadable": 0, "duplicates": 0, "missed": 0}
    assert said == {"database": f"sqlite:///{path}", **counts}


def test_status_without_a_broker_leaves_out_what_only_the_broker_knows(
    fake_app: App, invoke: Callable[..., Result], invoke_json: Callable[..., dict[str, Any]]
) -> None:
    publish(fake_app, range(3))
    invoke_json("ledger", "replay")
    fake_app.is_up = False
    result = invoke("ledger", "status")
    assert result.exit_code == 0
    assert "waiting                -" in result.stdout


def test_a_database_that_nobody_has_written_says_what_to_do(invoke: Callable[..., Result], path: Path) -> None:
    result = invoke("ledger", "status")
    assert result.exit_code == 1
    assert f"sqlite:///{path}: there is no such file: `fleet ledger run` makes it" in result.stderr


def test_replay_beside_a_writer_empties_nothing(
    fake_app: App, invoke: Callable[..., Result], invoke_json: Callable[..., dict[str, Any]], path: Path
) -> None:
    publish(fake_app, range(25))
    invoke_json("ledger", "replay")
    engine = engine_for(database_url(f"sqlite:///{path}"))
    writer = LedgerStore(engine, lambda: 0.0)
    assert writer.claim()
    result = invoke("ledger", "replay", "--discard")
    writer.release()
    engine.dispose()
    assert (result.exit_code, "stop its `fleet ledger run` first" in result.stderr) == (1, True)
    assert invoke_json("ledger", "status")["lines"] == 25


def test_an_address_that_is_none_names_the_variable(invoke: Callable[..., Result]) -> None:
    result = invoke("ledger", "status", "--ledger-url", "mysql://root:geheim@host/x")
    assert result.exit_code == 1
    assert "fleet: wrong setting: FLEET_LEDGER_URL: must be" in result.stderr
    assert "geheim" not in result.output


def test_without_its_libraries_the_line_says_what_to_install(
    invoke: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("fleet.ledger", "sqlalchemy"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    result = invoke("ledger", "status")
    assert result.exit_code == 1
    assert result.stderr == "fleet: fleet ledger needs sqlalchemy: pip install 'inference-fleet[ledger]'\n"
