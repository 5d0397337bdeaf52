"""`fleet feedback` is heard, and `fleet calibrate` makes of it what is in force, or says why not."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from fake_app import App
from typer.testing import Result

from fleet.app import load_calibrations, save_calibrations
from fleet.model.calibration import Calibration, Fit, Looks, Scorer
from fleet.model.feedback import Feedback, Verdict
from fleet.settings.documents import load_catalogue
from queues.jetstream.stores.calibrations import MemoryCalibrations
from queues.jetstream.stores.journal import MemoryJournal

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]
Value = TypeVar("Value")

KEY = "llama-8b/classify.intent/token"


def judged(count: int, good: bool | None = None, task: str = "classify.intent") -> Iterator[str]:
    """Lines of a label file: answers of an engine that claims twice the log-odds it has."""
    random = np.random.default_rng(7)
    for number in range(count):
        odds = random.normal(0.8, 1.2)
        right = bool(random.random() < 1 / (1 + math.exp(-odds)))
        logprob = -math.log1p(math.exp(-2 * odds))
        names = ("sum", "mean", "min", "q10", "q25")
        features = {**dict.fromkeys(names, logprob), "count": 1, "margin": 1.0, "entropy": 0.1}
        line = {"target": "llama-8b", "task": task, "kind": "token", "strong": "llama-70b"}
        job = f"{task}-{number}"
        yield json.dumps({**line, "features": features, "good": right if good is None else good, "job": job})


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(judged(400)))
    return path


def done(coroutine: Awaitable[Value]) -> Value:
    async def run() -> Value:
        return await coroutine

    return asyncio.run(run())


def in_force(fake_app: App) -> dict[str, Calibration]:
    found = done(fake_app.calibrations.read_all())
    return {f"{key.target}/{key.family}/{key.kind}": each for key, each in found.items()}


def heard(fake_app: App) -> list[Feedback]:
    async def read() -> list[Feedback]:
        return [each async for each in MemoryJournal(fake_app.fleet.broker).feedback()]

    return asyncio.run(read())


def test_feedback_is_stored_for_the_tenant_with_whose_answer_it_is_about(invoke: Invoke, fake_app: App) -> None:
    job_id = invoke("submit", "chat", "hello", "--wait", "--id", "my-own-job-id-0001", "--tenant", "acme")
    assert job_id.exit_code == 0

    shown = invoke("feedback", "my-own-job-id-0001", "edited", "--text", "Hello!", "--tenant", "acme")

    [said] = heard(fake_app)
    assert shown.stdout == "my-own-job-id-0001: edited\n"
    assert (said.job_id, said.tenant, said.verdict, said.text) == (
        "my-own-job-id-0001",
        "acme",
        Verdict.EDITED,
        "Hello!",
    )
    assert (said.target, said.changed) == ("llama-8b", False)


def test_wrong_feedback_is_refused_in_one_line(invoke: Invoke, invoke_json: InvokeJson) -> None:
    shown = invoke("feedback", "my-own-job-id-0001", "edited")
    assert (shown.exit_code, shown.stderr) == (
        1,
        "fleet: wrong feedback: text: is required with verdict edited: the answer as edited\n",
    )
    assert "wrong job: id" in invoke_json("feedback", "short", "good", exit_code=1)["error"]
    assert invoke("feedback", "my-own-job-id-0001", "meh").exit_code == 2


def test_labels_from_a_file_are_put_in_force(invoke_json: InvokeJson, fake_app: App, labels: Path) -> None:
    shown = invoke_json("calibrate", "--labels", str(labels))

    rows = {row["key"]: row for row in shown["calibrations"]}
    assert (shown["labels"], shown["written"]) == (400, True)
    assert rows[KEY]["accepted"] is True
    assert rows[KEY]["brier"] < 0.25
    assert (rows[KEY]["fit"], rows[KEY]["strong"], rows[KEY]["brier_before"]) == ("platt", "llama-70b", None)
    assert in_force(fake_app)[KEY].version == rows[KEY]["version"]


@pytest.mark.parametrize("columns", ["60", "80", "160"])
def test_a_person_sees_the_whole_key_the_reason_and_the_numbers_at_any_width(
    invoke: Invoke, labels: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    said = " ".join(invoke("calibrate", "--labels", str(labels)).stdout.split())

    assert f"{KEY} accepted: first 400 labels, platt; Brier - → 0." in said
    assert "threshold by the rules" in said
    assert "put in force" in said


def test_a_dry_run_changes_nothing(invoke_json: InvokeJson, fake_app: App, labels: Path, tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"

    shown = invoke_json("calibrate", "--labels", str(labels), "-o", str(file), "--dry-run")

    assert (shown["written"], shown["calibrations"][1]["accepted"]) == (False, True)
    assert invoke_json("calibrate", "--labels", str(labels), "--dry-run")["written"] is False
    assert (file.exists(), in_force(fake_app)) == (False, {})


def test_from_a_file_into_a_file_needs_no_fleet(
    invoke_json: InvokeJson, fake_app: App, labels: Path, tmp_path: Path
) -> None:
    fake_app.is_up = False
    file = tmp_path / "calibration.json"

    shown = invoke_json("calibrate", "--labels", str(labels), "-o", str(file))
    written = load_calibrations(file, load_catalogue(None, "local"))

    accepted = {row["key"] for row in shown["calibrations"] if row["accepted"]}
    assert KEY in accepted
    assert {f"{key.target}/{key.family}/{key.kind}" for key in written} == accepted
    assert in_force(fake_app) == {}


def test_a_file_that_is_as_good_already_is_left_as_it_is(invoke_json: InvokeJson, labels: Path, tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    invoke_json("calibrate", "--labels", str(labels), "-o", str(file))
    before = file.read_text()

    shown = invoke_json("calibrate", "--labels", str(labels), "-o", str(file))

    assert [row["accepted"] for row in shown["calibrations"]] == [False] * len(shown["calibrations"])
    assert file.read_text() == before


def test_what_is_shipped_is_to_be_beaten_too(
    invoke_json: InvokeJson, fake_app: App, labels: Path, tmp_path: Path
) -> None:
    file = tmp_path / "calibration.json"
    invoke_json("calibrate", "--labels", str(labels), "-o", str(file))
    fake_app.shipped = load_calibrations(file, load_catalogue(None, "local"))

    rows = {row["key"]: row for row in invoke_json("calibrate", "--labels", str(labels))["calibrations"]}

    assert (rows[KEY]["accepted"], rows[KEY]["reason"]) == (False, "brier does not improve")


def test_nothing_that_could_be_fitted_is_a_failure_that_says_why(
    invoke: Invoke, invoke_json: InvokeJson, tmp_path: Path
) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(judged(60, good=True)))

    shown = invoke_json("calibrate", "--labels", str(path), exit_code=1)

    assert {row["reason"] for row in shown["calibrations"]} == {"labels: must hold both good answers and bad ones"}
    shown_to_people = " ".join(invoke("calibrate", "--labels", str(path)).stdout.split())
    assert "refused: labels: must hold both good answers and bad ones" in shown_to_people


def test_a_wrong_line_is_named(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text('{"target": "llama-8b"}')

    shown = invoke("calibrate", "--labels", str(path))

    assert (shown.exit_code, shown.stderr) == (1, "fleet: wrong setting: labels.1.task: is required\n")


def test_without_labels_there_is_nothing_to_do(invoke: Invoke, invoke_json: InvokeJson) -> None:
    assert invoke_json("calibrate")["calibrations"] == []
    assert invoke("calibrate").stdout.startswith("no labels yet")


def test_feedback_without_a_ledger_entry_is_counted(invoke: Invoke, invoke_json: InvokeJson) -> None:
    invoke("feedback", "my-own-job-id-0001", "good")

    assert invoke_json("calibrate")["unused"] == {"the ledger has no such job (any more)": 1}
    assert "1 feedback not used: the ledger has no such job" in invoke("calibrate").stdout


def test_a_fleet_that_is_away_is_said_in_one_line(invoke: Invoke, fake_app: App) -> None:
    fake_app.is_up = False

    shown = invoke("calibrate")

    assert shown.exit_code == 1
    assert "start a fleet with `fleet up`" in shown.stderr


def test_rolling_back_puts_the_one_before_in_force(
    invoke_json: InvokeJson, invoke: Invoke, fake_app: App, labels: Path
) -> None:
    invoke_json("calibrate", "--labels", str(labels))
    first = in_force(fake_app)[KEY]
    done(fake_app.calibrations.put([_renamed(first, "worse")]))

    dry = invoke_json("calibrate", "--roll-back", KEY, "--dry-run")
    unchanged = in_force(fake_app)[KEY].version
    shown = invoke_json("calibrate", "--roll-back", KEY)

    assert (dry["after"], unchanged) == (None, "worse")
    assert shown == {"key": KEY, "before": "worse", "after": f"{first.version}+rolled-back"}
    assert in_force(fake_app)[KEY].version == f"{first.version}+rolled-back"
    assert "no earlier calibration" in invoke("calibrate", "--roll-back", KEY).stderr


def _renamed(calibration: Calibration, version: str) -> Calibration:
    return replace(calibration, version=version)


@pytest.mark.parametrize("key", ["llama-8b", "llama-8b/chat", "llama-8b//token"])
def test_what_is_no_key_cannot_be_rolled_back(invoke: Invoke, key: str) -> None:
    shown = invoke("calibrate", "--roll-back", key)

    assert (shown.exit_code, "<target>/<family>/<kind>" in shown.stderr) == (1, True)


def test_a_file_of_calibrations_of_another_model_is_refused_with_the_field(
    invoke: Invoke, invoke_json: InvokeJson, labels: Path, tmp_path: Path
) -> None:
    file = tmp_path / "calibration.json"
    invoke_json("calibrate", "--labels", str(labels), "-o", str(file))
    file.write_text(file.read_text().replace('"raw_logprobs"', '"processed_logprobs"'))

    shown = invoke("calibrate", "--labels", str(labels), "-o", str(file))

    assert shown.exit_code == 1
    assert "wrong setting: calibrations.0.logprobs_mode: must be that of target llama-8b" in shown.stderr
    assert f"(in {file})" in shown.stderr


WIDE = "llama-8b/*/*"


@pytest.fixture
def of_two_tasks(invoke_json: InvokeJson, labels: Path, fake_app: App) -> Calibration:
    """The wide calibration that labels of two tasks put in force, with a scorer that anything fitted is better than."""
    labels.write_text("\n".join([*judged(120), *judged(120, task="nudge.sms")]))
    invoke_json("calibrate", "--labels", str(labels))
    bad = Scorer(Fit.PLATT, ("min_logit",), (3.0,), 4.0)
    found = replace(in_force(fake_app)[WIDE], scorer=bad, version="of-two-tasks")
    done(fake_app.calibrations.put([found]))
    labels.write_text("\n".join(judged(400)))
    return found


def test_labels_of_one_task_leave_the_wide_calibration_of_more_in_force_and_say_so(
    invoke: Invoke, invoke_json: InvokeJson, fake_app: App, labels: Path, of_two_tasks: Calibration
) -> None:
    dry = " ".join(invoke("calibrate", "--labels", str(labels), "--dry-run").stdout.split())
    shown = invoke_json("calibrate", "--labels", str(labels))

    rows = {row["key"]: row for row in shown["calibrations"]}
    reason = "the one in force stays: it knows nudge.sms, of which there are not 10 labels here"
    assert (rows[WIDE]["accepted"], rows[WIDE]["reason"], rows[WIDE]["lost_tasks"]) == (False, reason, ["nudge.sms"])
    assert rows[KEY]["lost_tasks"] == []
    assert in_force(fake_app)[WIDE] == of_two_tasks
    assert f"{WIDE} refused: {reason}" in dry
    assert "--allow-fewer-tasks" in dry


def test_an_operator_may_give_up_tasks_is_told_which_and_can_go_back(
    invoke: Invoke, invoke_json: InvokeJson, fake_app: App, labels: Path, of_two_tasks: Calibration
) -> None:
    said = " ".join(invoke("calibrate", "--labels", str(labels), "--allow-fewer-tasks").stdout.split())
    seen = in_force(fake_app)[WIDE].familiar
    invoke_json("calibrate", "--roll-back", WIDE)

    assert "brier improves; no longer knows nudge.sms" in said
    assert seen is not None
    assert seen.tasks == ("classify.intent",)
    assert in_force(fake_app)[WIDE].familiar == of_two_tasks.familiar


def test_what_a_dispatcher_starts_with_keeps_its_tasks_too(
    invoke_json: InvokeJson,
    fake_app: App,
    labels: Path,
    of_two_tasks: Calibration,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "calibration.json"
    save_calibrations(file, [of_two_tasks])
    monkeypatch.setenv("FLEET_CALIBRATIONS_PATH", str(file))
    fake_app.calibrations = MemoryCalibrations()

    rows = {row["key"]: row for row in invoke_json("calibrate", "--labels", str(labels))["calibrations"]}

    assert rows[WIDE]["lost_tasks"] == ["nudge.sms"]
    assert WIDE not in in_force(fake_app)


def test_what_is_stored_of_a_model_no_longer_deployed_does_not_hide_what_is_shipped_and_its_tests_still_count(
    invoke_json: InvokeJson, fake_app: App, labels: Path, of_two_tasks: Calibration
) -> None:
    fake_app.shipped = {of_two_tasks.key: of_two_tasks}
    done(fake_app.calibrations.put([replace(of_two_tasks, model="of-last-year", looks=Looks(3, 200, 1.0, "d"))]))

    rows = {row["key"]: row for row in invoke_json("calibrate", "--labels", str(labels))["calibrations"]}
    invoke_json("calibrate", "--labels", str(labels), "--allow-fewer-tasks")

    assert rows[WIDE]["lost_tasks"] == ["nudge.sms"]
    assert in_force(fake_app)[WIDE].looks == Looks(3, 200, 1.0, "d")
