"""`fleet data` against a real content store: what there is, what is exported, and what has to go after an erasure."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_app import App
from training_examples import LARGE, SMALL, TASK, content, given, said
from typer.testing import Result

from fleet.cli.connection import settings_for
from fleet.cli.data.lineage import sources_of
from fleet.content.erasing import ContentEraser
from fleet.content.store import ContentStore
from fleet.content.vault import Vault
from fleet.ledger.database import database_url, engine_for
from fleet.model.content import Content
from fleet.model.feedback import Feedback, Verdict
from fleet.settings.documents import shipped
from queues.memory import MemoryDesk

KEY = bytes(range(32))
NOW = time.time()
Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]


def asked(number: int) -> Content:
    """A job like no other that was escalated; every tenth is about Ada."""
    prompt = " ".join(f"w{number * 31 + place * 7919}" for place in range(12))
    answers = (given(SMALL, "None"), given(LARGE))
    person = "p-ada" if number % 10 == 0 else None
    request = {"messages": [{"role": "user", "content": f"{prompt} ada{number}@example.org"}]}
    return content(number, *answers, text=f"Both: {number}", at=NOW - 1000 + number, person=person, request=request)


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'data' / 'content.sqlite3'}"


@pytest.fixture
def collect(fake_app: App, address: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts contents into the store, and feedback on them onto the broker."""
    monkeypatch.setenv("FLEET_CONTENT_KEY", base64.b64encode(KEY).decode())

    def put(*records: Content | Feedback) -> None:
        engine = engine_for(database_url(address))
        store = ContentStore(engine, Vault(KEY))
        store.open()
        store.write([each for each in records if isinstance(each, Content)])
        engine.dispose()
        desk = MemoryDesk(fake_app.fleet.broker, "acme")
        for each in records:
            if isinstance(each, Feedback):
                asyncio.run(desk.give_feedback(each))

    return put


@pytest.fixture
def agreed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_app: App) -> None:
    """Rules by which the task is collected, and acme agreed to training."""
    rules = yaml.safe_load(shipped("policies", "rules.yaml").read_text())
    rules["tasks"][TASK]["collect"] = True
    rules["training"] = {"tenants": ["acme"], "share": 1.0, "goal": 50}
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rules))
    monkeypatch.setenv("FLEET_RULES_PATH", str(path))


Collect = Callable[..., None]


def test_without_an_agreement_nothing_is_opened(invoke: Invoke, collect: Collect) -> None:
    collect(asked(1))
    done = invoke("data", "status")
    assert (done.exit_code, "training.tenants: must name a tenant that agreed" in done.stderr) == (1, True)
    assert "data status" not in invoke("content", "reads").stdout


@pytest.mark.usefixtures("agreed")
def test_status_says_what_there_is_by_task_source_and_opinion(
    invoke: Invoke, invoke_json: InvokeJson, collect: Collect
) -> None:
    closed = given("gpt-4o", provider="openai", model="gpt-4o")
    collect(asked(1), asked(2), content(3), content(4, closed), content(5), content(6, tenant="globex"))
    collect(said(3, Verdict.GOOD), said(4, Verdict.GOOD), said(5, Verdict.BAD))
    found = invoke_json("data", "status")
    [task] = found["tasks"]
    assert (task["task"], task["examples"], task["preferences"], task["forbidden"], task["goal"]) == (TASK, 3, 2, 1, 50)
    assert task["sources"] == [
        {"target": "gpt-4o", "origin": "good", "examples": 1},
        {"target": LARGE, "origin": "escalated", "examples": 2},
        {"target": SMALL, "origin": "bad", "examples": 1},
        {"target": SMALL, "origin": "good", "examples": 1},
    ]
    assert (task["bad"], task["unusable"]) == (1, {})
    assert found["not_agreed"] == 1
    shown = invoke("data", "status").stdout
    assert "6%" in shown
    assert "1 contents are of tenants that did not agree" in shown
    assert "data status: contents of acme, all tasks" in invoke("content", "reads").stdout


@pytest.mark.usefixtures("agreed")
def test_an_export_is_scrubbed_and_an_erased_person_can_be_taken_out_of_it(
    invoke: Invoke, invoke_json: InvokeJson, collect: Collect, tmp_path: Path, address: str
) -> None:
    collect(*(asked(number) for number in range(1, 41)))
    folder, rest = tmp_path / "export", tmp_path / "rest"
    export = ("data", "export", "--task", TASK, "--format", "openai-dpo", "-o", str(folder))
    sheet = invoke_json(*export)
    assert sheet["rows"]["train"] + sheet["rows"]["validation"] == 40
    assert sheet["replaced"] == {"EMAIL": 40}
    first = json.loads((folder / "train.jsonl").read_text().splitlines()[0])
    assert "<EMAIL_1>" in first["input"]["messages"][0]["content"]
    assert first["non_preferred_output"] == [{"role": "assistant", "content": "None"}]
    assert "must be a new or an empty folder" in invoke(*export).stderr

    assert invoke_json("data", "erased", str(folder)) == {"lines": [], "unknown": 0}
    ContentEraser(address).erase(None, "p-ada")
    [*lines] = invoke_json("data", "erased", str(folder), exit_code=1)["lines"]
    assert lines == invoke_json("data", "erased", str(folder), "--person", "p-ada", exit_code=1)["lines"]
    assert len(lines) == 4
    goes = tmp_path / "gone.jsonl"
    assert "have to go" in invoke("data", "erased", str(folder), "-o", str(rest), "--gone", str(goes)).stdout
    trained = {each["line"] for each in lines if each["file"] == "train.jsonl"}
    was = (folder / "train.jsonl").read_text().splitlines()
    assert goes.read_text().splitlines() == [was[line - 1] for line in sorted(trained)]
    assert goes.stat().st_mode & 0o077 == 0
    assert "p-ada" not in "".join(path.read_text() for path in rest.iterdir())
    assert invoke_json("data", "erased", str(rest)) == {"lines": [], "unknown": 0}


@pytest.mark.usefixtures("agreed")
def test_an_adapter_is_trained_on_an_export_only_while_nobody_of_it_was_erased(
    invoke: Invoke, invoke_json: InvokeJson, collect: Collect, tmp_path: Path, address: str
) -> None:
    collect(*(asked(number) for number in range(1, 31)))
    data = tmp_path / "export" / "train.jsonl"
    invoke_json("data", "export", "--task", TASK, "--format", "openai-sft", "-o", str(data.parent))
    said_so: list[str] = []
    sources = sources_of(data, settings_for(None), said_so.append)
    assert sources is not None
    assert (sources.has("acme", None), sources.has("globex", None), said_so) == (True, False, [])
    ContentEraser(address).erase("acme", None)
    train = ("adapters", "train", str(data), "--task", TASK, "-o", str(tmp_path / "adapter"))
    refused = invoke(*train)
    assert refused.exit_code == 1
    rows = len(data.read_text().splitlines())
    assert f"train.jsonl: has rows of {rows} jobs that were erased since: `fleet data erased" in refused.stderr
    assert not (tmp_path / "adapter").exists()
    data.write_text(data.read_text().replace("w31", "w32"))
    assert "train.jsonl: has other bytes than datasheet.json says" in invoke(*train).stderr


def test_where_nobody_can_say_whose_rows_they_are_it_is_said(tmp_path: Path) -> None:
    said_so: list[str] = []
    data = tmp_path / "train.jsonl"
    with pytest.raises(FileNotFoundError):
        sources_of(data, settings_for(None), said_so.append)
    assert not said_so
    data.touch()
    assert sources_of(data, settings_for(None), said_so.append) is None
    assert "is not from `fleet data export`: `fleet erase` will not find adapters" in said_so[0]


@pytest.mark.usefixtures("agreed")
def test_a_line_whose_job_is_older_than_contents_are_kept_is_not_called_erased(
    invoke_json: InvokeJson, collect: Collect, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect(*(replace(each, at=each.at - 2 * 86_400.0) for each in map(asked, range(1, 31))))
    folder = tmp_path / "export"
    invoke_json("data", "export", "--task", TASK, "--format", "trl", "-o", str(folder))
    ContentEraser(address).erase("acme", None)
    monkeypatch.setenv("FLEET_CONTENT_KEEP_DAYS", "1")
    assert invoke_json("data", "erased", str(folder)) == {"lines": [], "unknown": 30}
    assert len(invoke_json("data", "erased", str(folder), "--job", "job-000000000007", exit_code=1)["lines"]) == 1


@pytest.mark.usefixtures("agreed")
def test_nothing_to_export_is_refused_with_its_counts_and_leaves_no_folder(
    invoke: Invoke, collect: Collect, tmp_path: Path
) -> None:
    collect(content(1), content(2))
    collect(said(1, Verdict.BAD))
    export = ("data", "export", "--format", "openai-sft", "-o", str(tmp_path / "export"), "--task")
    done = invoke(*export, TASK)
    assert done.exit_code == 1
    assert (
        "0 lines are left to train on, and 10 are the fewest. eligibility: 1 nobody said whether it is good"
        in done.stderr
    )
    assert "evaluation: 1 called bad: to evaluate with" in done.stderr
    assert not (tmp_path / "export").exists()
    assert "--tenant: 'globex' is not among the tenants" in invoke(*export, TASK, "--tenant", "globex").stderr
    assert "--task: 'plan.scedule' is not among the tasks of the rules" in invoke(*export, "plan.scedule").stderr
