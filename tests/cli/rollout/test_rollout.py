"""`fleet rollout`: an experiment from its file to its end, and what is refused on the way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_app import App
from typer.testing import Result

from fleet.model.attempt import Answer, Attempt, Judged, Usage
from fleet.model.calibration import OutputKind
from fleet.model.experiment import CONTROL, Assignment
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Status
from queues.memory import MemoryQueue

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]

TRIAL = """
name: smaller-first
unit: tenant
tasks: [classify.intent]
arms:
  candidate: {share: 0.1, rules: candidate.yaml}
guardrails: {price: null}
"""
CANDIDATE = "phases: {phase3: {simple: [llama-8b, llama-70b]}}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "candidate.yaml").write_text(CANDIDATE)
    path = tmp_path / "trial.yaml"
    path.write_text(TRIAL)
    return path


@pytest.fixture
def begun(fake_app: App, invoke: Invoke, file: Path) -> App:
    assert invoke("rollout", "start", str(file)).stdout == "smaller-first is running, candidate 10%\n"
    return fake_app


def test_an_experiment_goes_from_start_to_stop(begun: App, invoke: Invoke, invoke_json: InvokeJson) -> None:
    assert invoke_json("rollout", "ramp", "smaller-first", "--share", "0.3")["shares"] == {
        CONTROL: 0.7,
        "candidate": 0.3,
    }
    assert "smaller-first" in invoke("rollout", "status").stdout
    ended = invoke_json("rollout", "stop", "smaller-first", "--why", "complaints")
    assert (ended["stage"], ended["why"]) == ("stopped", "complaints")
    [stored] = asyncio.run(begun.experiments.read_all()).values()
    assert stored.arms[0].rules == {"phases": {"phase3": {"simple": ["llama-8b", "llama-70b"]}}}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("rules: candidate.yaml", "target: gpt-9"), "arms.candidate.target: 'gpt-9' is not in the catalogue"),
        (("share: 0.1", "share: 1.5"), "arms.candidate.share: must be between 0 and 1"),
        (("unit: tenant", "unit: planet"), "unit: "),
        (("rules: candidate.yaml", "rules: missing.yaml"), "missing.yaml: cannot be read"),
        (
            ("rules: candidate.yaml", "rules: {money: {daily_usd: 1}}"),
            "arms.candidate.rules.money: must be as in the rules",
        ),
        (("rules: candidate.yaml", "rules: {phase: phase9}"), "phase: 'phase9' is none of"),
        (("unit: tenant", "unit: tenant\nunits: 3"), "units: "),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_field_and_rule(
    fake_app: App, invoke: Invoke, file: Path, changed: tuple[str, str], said: str
) -> None:
    file.write_text(TRIAL.replace(*changed))
    refused = invoke("rollout", "start", str(file))
    assert refused.exit_code == 1
    assert said in refused.stderr
    assert asyncio.run(fake_app.experiments.read_all()) == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ramp", "smaller-first", "--share", "0.05"), "arms.candidate.share: must be above the present 0.1"),
        (("ramp", "smaller-first", "--share", "0.2", "--arm", "b"), "arm: must be one of candidate"),
        (("stop", "other"), "name: 'other' is none of the experiments: smaller-first"),
        (("promote", "smaller-first"), "evidence: must show that 'candidate' is as good and cheaper"),
    ],
)
def test_a_step_that_may_not_be_taken_is_refused(begun: App, invoke: Invoke, arguments: Any, said: str) -> None:
    refused = invoke("rollout", *arguments)
    assert refused.exit_code == 1
    assert said in refused.stderr


def test_a_second_experiment_on_the_same_jobs_is_refused(begun: App, invoke: Invoke, file: Path) -> None:
    file.write_text(TRIAL.replace("smaller-first", "another"))
    assert "overlap with those of 'smaller-first'" in invoke("rollout", "start", str(file)).stderr


def test_what_is_stopped_is_not_promoted_and_without_a_broker_that_is_said(begun: App, invoke: Invoke) -> None:
    invoke("rollout", "stop", "smaller-first")
    assert "must be running, and is stopped" in invoke("rollout", "promote", "smaller-first", "--force").stderr
    begun.is_up = False
    assert "fleet: no fleet answers" in invoke("rollout", "status").stderr


def line(number: int, arm: str, cost_usd: float) -> LedgerEntry:
    judged = Judged(0.7, OutputKind.SHORT, calibration="v1")
    tried = Attempt(1, "m", Reason.ROUTED, 0.0, 1.0, Answer({}, "stop", Usage(), "m"), 0.96, cost_usd, judged)
    about = ("classify.intent", "paid", Status.SUCCEEDED, tried, 0.0)
    assigned = Assignment("smaller-first", arm, 0.1)
    return LedgerEntry(f"job-{number:016}", "acme", Lane.BULK, 1.0, Reason.CONFIDENT, *about, assigned=assigned)


def test_the_accounts_say_when_an_arm_may_be_promoted(begun: App, invoke: Invoke, invoke_json: InvokeJson) -> None:
    rng = random.Random(1)
    arms = ["candidate" if rng.random() < 0.1 else CONTROL for _ in range(4_000)]
    lines = [line(n, arm, 0.001 if arm == CONTROL else 0.0004) for n, arm in enumerate(arms)]
    asyncio.run(MemoryQueue(begun.fleet.broker).publish(lines))
    found = invoke_json("rollout", "status", "smaller-first")
    assert found["jobs"] == {CONTROL: arms.count(CONTROL), "candidate": arms.count("candidate")}
    evidence = found["evidence"]["candidate"]
    assert [each["name"] for each in evidence["guardrails"]] == [
        *("gate_failures", "quality", "escalations", "late", "feedback")
    ]
    assert evidence["usd_per_job"] == pytest.approx(0.0004)
    assert evidence["may_promote"] is True
    shown = invoke("rollout", "status", "smaller-first").stdout
    assert "promotes: cheaper" in shown and "not known before" not in shown
    won = invoke("rollout", "promote", "smaller-first")
    assert won.stdout == "smaller-first is promoted, candidate for all: as good and cheaper\n"


def test_before_the_first_hundred_jobs_it_is_said_what_is_not_known_yet(begun: App, invoke: Invoke) -> None:
    asyncio.run(MemoryQueue(begun.fleet.broker).publish([line(1, CONTROL, 0.001)]))
    shown = invoke("rollout", "status", "smaller-first").stdout
    assert "late, price and cheaper are not known before 100 jobs of the control" in shown


def test_an_arm_whose_adapter_answers_nothing_is_refused(
    fake_app: App, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_ADAPTERS", "llama-8b")
    file = tmp_path / "trial.yaml"
    file.write_text(f"name: taught\nunit: job\narms: {{candidate: {{share: 0.1, adapter: {'a' * 64}}}}}\n")
    refused = invoke("rollout", "start", str(file))
    assert refused.exit_code == 1
    assert "arms.candidate.adapter: aaaaaaaaaaaa answers none of these jobs" in refused.stderr
    assert asyncio.run(fake_app.experiments.read_all()) == {}
