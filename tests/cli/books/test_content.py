"""`fleet content` against a real SQLite file: what is shown, and that it is on record who looked."""

from __future__ import annotations

import base64
import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_app import App
from typer.testing import Result

from fleet.content.store import ContentStore
from fleet.content.vault import Vault
from fleet.ledger.database import database_url, engine_for
from fleet.model.content import Content

KEY = bytes(range(32))
JOB = "job-0123456789ab"
REQUEST = {"messages": [{"role": "user", "content": "Ist das Bad frei?"}]}


@pytest.fixture(autouse=True)
def stored(fake_app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One content in the default database."""
    monkeypatch.setenv("FLEET_CONTENT_KEY", base64.b64encode(KEY).decode())
    engine = engine_for(database_url(f"sqlite:///{tmp_path / 'data' / 'content.sqlite3'}"))
    store = ContentStore(engine, Vault(KEY))
    store.open()
    store.write([Content(JOB, "acme", "chat", 5.0, REQUEST, {"role": "assistant", "content": "Ja."}, "llama-8b")])
    engine.dispose()


def test_a_content_is_listed_unopened_and_shown(invoke_json: Callable[..., dict[str, Any]]) -> None:
    [listed] = invoke_json("content", "list")["contents"]
    assert listed == {
        "at": "1970-01-01T00:00:05+00:00", "tenant": "acme", "job_id": JOB, "task": "chat", "target": "llama-8b"
    }  # fmt: skip
    assert invoke_json("content", "show", JOB, "--tenant", "acme")["request"] == REQUEST


def test_whoever_looked_is_on_record(invoke_json: Callable[..., dict[str, Any]]) -> None:
    invoke_json("content", "show", JOB, "--tenant", "acme")
    [read] = invoke_json("content", "reads")["reads"]
    assert (read["who"], read["asked"]) == (getpass.getuser(), f"content of acme {JOB}")


def test_a_content_that_is_not_there_is_said_to_be_gone(invoke: Callable[..., Result]) -> None:
    done = invoke("content", "show", "job-unknown", "--tenant", "acme")
    assert (done.exit_code, "not collected, too old, or erased" in done.stderr) == (1, True)


def test_without_a_key_nothing_is_opened_and_all_else_is_shown(
    invoke: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLEET_CONTENT_KEY")
    done = invoke("content", "show", JOB, "--tenant", "acme")
    assert (done.exit_code, "FLEET_CONTENT_KEY: is not set" in done.stderr) == (1, True)
    for command, said in (("list", JOB), ("reads", "list of all tenants")):
        done = invoke("content", command)
        assert (done.exit_code, said in done.stdout) == (0, True)


READERS = [("show", JOB, "--tenant", "acme"), ("list",), ("reads",)]


@pytest.mark.parametrize("arguments", READERS)
def test_a_reader_makes_no_store_and_names_the_variable(
    invoke: Callable[..., Result], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    path = tmp_path / "elsewhere" / "content.sqlite3"
    done = invoke("content", *arguments, "--content-url", f"sqlite:///{path}")
    assert done.exit_code == 1
    assert f"{path}: there is no such file: `fleet content run` makes it, and FLEET_CONTENT_URL names" in done.stderr
    assert not path.parent.exists()


def test_a_file_without_contents_is_left_as_it_is(invoke: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "empty.sqlite3"
    path.touch()
    done = invoke("content", "list", "--content-url", f"sqlite:///{path}")
    assert (done.exit_code, "holds no contents: `fleet content run`" in done.stderr) == (1, True)


def test_an_address_that_is_none_names_its_own_variable(invoke: Callable[..., Result]) -> None:
    done = invoke("content", "list", "--content-url", "nonsense")
    assert (done.exit_code, "FLEET_CONTENT_URL: must be sqlite" in done.stderr) == (1, True)
