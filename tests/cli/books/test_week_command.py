"""`fleet report week`: a change becomes an experiment with one command, and a week without traffic is refused."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from accounts import Accounts, JobOf, call, catalogue_file, job_id_of, rules_file
from fake_app import App
from labelled import evidence
from typer.testing import Result

from fleet.cli.books import week
from fleet.cli.data import redraw
from fleet.content.store import ContentStore
from fleet.content.vault import Vault
from fleet.lab.learning.collected import LabelledAnswer
from fleet.ledger.database import database_url, engine_for
from fleet.model.adapter import AdapterVersion, Alias, RegisteredAdapter
from fleet.model.calibration import OutputKind
from fleet.model.content import Content, GivenAnswer
from fleet.model.reason import Reason
from fleet.model.redraw import redraw_of

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]

WEEK = ("report", "week", "--until", "2026-03-07")


@pytest.fixture
def climbed(fake_app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """A week in which the small model answered all jobs and kept none."""
    monkeypatch.setenv("FLEET_RULES_PATH", str(rules_file(tmp_path)))
    monkeypatch.setenv("FLEET_CATALOGUE_PATH", str(catalogue_file(tmp_path)))
    accounts, small = Accounts(tmp_path / "data"), replace(call("small"), confidence=0.4)
    accounts.book(1, [line for n in range(200) for line in JobOf().lines(n, small, call("large", number=2))])
    return fake_app


def stored(app: App) -> dict[str, Any]:
    return dict(asyncio.run(app.experiments.read_all()))


def test_a_proposal_is_started_with_one_command(climbed: App, invoke: Invoke, invoke_json: InvokeJson) -> None:
    changes = invoke_json(*WEEK)["changes"]
    [number] = [place for place, each in enumerate(changes, 1) if each["verdict"] == "proposed"]
    assert f"try it: `fleet report week --start {number}`" in invoke(*WEEK).stdout
    shown = invoke(*WEEK, "--start", str(number), "--dry-run", "--share", "0.2")
    assert "share: 0.2" in shown.stdout
    assert stored(climbed) == {}
    started = invoke_json(*WEEK, "--start", str(number), "--unit", "conversation")
    assert (started["stage"], started["unit"]) == ("running", "conversation")
    [experiment] = stored(climbed).values()
    assert experiment.arms[0].rules == {"phases": {"only": {"tasks": {"classify.intent": ["large", "mini", "big"]}}}}
    again = invoke(*WEEK, "--start", str(number))
    assert again.exit_code == 1 and "is taken" in again.stderr


def test_an_adapter_that_its_gates_let_pass_is_started_as_it_is(
    climbed: App, invoke_json: InvokeJson, tmp_path: Path
) -> None:
    digest, gate = "ab" * 32, {"name": "improves:classify.intent", "n": 200, "value": 0.4, "low": 0.3, "high": 0.5}
    version = AdapterVersion(digest, "cd" * 32, 16, 1, 1.0, evidence={"passed": True, "gates": [gate]})
    intents = RegisteredAdapter(
        "intents", "small", frozenset({"classify.intent"}), versions=(version,), aliases={Alias.CANDIDATE: digest}
    )
    asyncio.run(climbed.adapters.change(lambda _: intents))
    catalogue = tmp_path / "catalogue.yaml"
    document = yaml.safe_load(catalogue.read_text())
    document["targets"][0]["adapters"] = {"at_once": 2}
    catalogue.write_text(yaml.safe_dump(document))
    kinds = [each["kind"] for each in invoke_json(*WEEK)["changes"]]
    invoke_json(*WEEK, "--start", str(kinds.index("adapter") + 1))
    [experiment] = stored(climbed).values()
    assert [(arm.adapter, arm.rules) for arm in experiment.arms] == [(digest, None)]


def test_a_change_that_the_week_does_not_speak_for_is_not_started(climbed: App, invoke: Invoke) -> None:
    """The first change is a lower threshold: nothing says how good the answers were that it would keep."""
    refused = invoke(*WEEK, "--start", "1")
    assert refused.exit_code == 1
    assert "change 1 cannot be judged by this week's data: 100 judged answers are missing" in refused.stderr
    assert stored(climbed) == {}


def test_a_share_that_makes_no_sense_is_refused_before_anything_starts(
    climbed: App, invoke: Invoke, invoke_json: InvokeJson
) -> None:
    verdicts = [each["verdict"] for each in invoke_json(*WEEK)["changes"]]
    refused = invoke(*WEEK, "--start", str(verdicts.index("proposed") + 1), "--share", "1.5")
    assert "arms.candidate.share: must be between 0 and 1" in refused.stderr
    assert stored(climbed) == {}


def test_a_dry_run_of_nothing_is_refused(climbed: App, invoke: Invoke) -> None:
    assert "--dry-run: goes with --start" in invoke(*WEEK, "--dry-run").stderr


def test_a_week_without_traffic_is_refused(climbed: App, invoke: Invoke) -> None:
    refused = invoke("report", "week", "--until", "2026-04-30")
    assert refused.exit_code == 1
    assert "--until: must end a week with traffic: the accounts of 2026-04-24 to 2026-04-30" in refused.stderr


NOON = 1_772_452_800.0
"""2026-03-02, in unix seconds."""


class Recorder:
    """A client that keeps what it is given."""

    def __init__(self) -> None:
        self.submitted: list[dict[str, Any]] = []

    async def submit(self, **job: Any) -> str:
        self.submitted.append(job)
        return str(job["id"])


@pytest.fixture
def client(climbed: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Two decisive answers of the week, of which one was collected, and a client that keeps what is asked again."""
    recorder = Recorder()

    @asynccontextmanager
    async def opened(_: object) -> AsyncIterator[Recorder]:
        yield recorder

    async def labels(_: object) -> list[LabelledAnswer]:
        of = partial(LabelledAnswer, "small", "classify.intent", OutputKind.TOKEN, propensity=1.0, at=NOON)
        jobs = (f"acme.{job_id_of(number)}" for number in (1, 2))
        return [of(job, evidence(-0.1), False, True, "large") for job in jobs]

    monkeypatch.setattr(week, "labels_in", labels)
    monkeypatch.setattr(redraw, "open_client", opened)
    monkeypatch.setenv("FLEET_CONTENT_KEY", base64.b64encode(bytes(32)).decode())
    engine = engine_for(database_url(f"sqlite:///{tmp_path / 'data' / 'content.sqlite3'}"))
    store = ContentStore(engine, Vault(bytes(32)))
    store.open()
    given = tuple(GivenAnswer(target, "m", Reason.ROUTED, provider) for target, provider in SEEN)
    store.write([Content(job_id_of(1), "acme", "classify.intent", 5.0, QUESTION, {}, "mini", "ada", answers=given)])
    engine.dispose()
    return recorder


QUESTION = {"messages": [{"role": "user", "content": "Is it well?"}]}
SEEN = (("small", "fleet"), ("mini", "openai"))


def test_decisive_questions_are_asked_again_by_those_who_saw_them(
    client: Recorder, invoke: Invoke, invoke_json: InvokeJson, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke_json(*WEEK, "--redraw", "5", "--tenant", "acme") == {"asked": 1, "not_collected": 1}
    [job] = client.submitted
    assert job["id"] == redraw_of("acme", job_id_of(1)) and job["request"] == QUESTION
    assert (job["cloud"], job["person"], job["lane"], job["regions"]) == (["openai"], "ada", "bulk", None)
    monkeypatch.setenv("FLEET_TENANT", "globex")
    refused = invoke(*WEEK, "--redraw", "5")
    assert refused.exit_code == 1 and "--redraw: must find decisive answers of globex" in refused.stderr
