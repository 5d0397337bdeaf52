"""Every command says what a person or a program needs, and fails in one line that says what to do."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import uvloop
from fake_app import App
from memory_fleet import attempt, failed, succeeded
from typer.testing import Result

from fleet.cli import jobs
from fleet.cli.commands import app as typer_app
from fleet.model.attempt import Attempt
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.result import Problem, Status
from fleet.model.result import Result as JobResult

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]


JOB_ID = "nobody-knows-this-id"


class CancelledJob:
    """A client whose job is cancelled after these attempts."""

    attempts: tuple[Attempt, ...] = ()

    async def cancel(self, job_id: str) -> bool:
        return True

    async def result(self, job_id: str) -> JobResult:
        return JobResult(job_id, "demo", Status.CANCELLED, Reason.CANCELLED, 1.0, attempts=self.attempts)


def escalated(job: Job) -> Any:
    attempts = (
        attempt(1, "llama-8b", "leave", 0.41),
        attempt(2, "llama-70b", "pay", 0.97, Reason.LOW_CONFIDENCE),
    )
    return succeeded(job, "pay", attempts=attempts)


def misspelt(job: Job) -> Any:
    problem = Problem("unknown region 'eu'", "regions", "must be a list of de, us")
    return replace(failed(job), status=Status.REJECTED, reason=Reason.INVALID, problem=problem)


def test_the_version_is_that_of_the_distribution(invoke: Invoke) -> None:
    assert invoke("--version").stdout == f"{version('inference-fleet')}\n"


def test_submit_prints_the_id_under_which_the_result_is_found(invoke: Invoke) -> None:
    job_id = invoke("submit", "chat", "hello").stdout.strip()
    shown = invoke("result", job_id)
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[0] == "hello"


def test_submit_and_wait_shows_the_answer_and_how_it_came_about(invoke: Invoke, fake_app: App) -> None:
    fake_app.fleet.answer = escalated
    lines = [line.strip() for line in invoke("submit", "classify.intent", "my bonus", "--wait").stdout.splitlines()]
    assert lines[0] == "pay"
    assert "status  succeeded (confident)" in lines
    assert "path    llama-8b (0.41) → llama-70b (0.97)" in lines


def test_a_job_without_an_answer_shows_its_problem(invoke: Invoke, fake_app: App) -> None:
    fake_app.fleet.answer = failed
    assert invoke("submit", "chat", "hello", "--wait").stdout.splitlines()[0] == "every target failed"


def test_a_rejected_job_shows_the_field_and_the_rule_that_it_breaks(invoke: Invoke, fake_app: App) -> None:
    fake_app.fleet.answer = misspelt
    [told, *_] = invoke("submit", "chat", "hello", "--wait").stdout.splitlines()
    assert told == "unknown region 'eu': regions must be a list of de, us"


def test_the_json_of_a_result_is_the_wire_format(invoke_json: InvokeJson) -> None:
    result = invoke_json("submit", "chat", "hello", "--wait")
    assert (result["schema"], result["status"], result["message"]["content"]) == (1, "succeeded", "hello")
    assert invoke_json("result", result["id"]) == result


@pytest.mark.parametrize("wait", [(), ("--wait",)])
def test_an_id_that_was_there_already_is_told_and_stands_for_its_first_job(
    invoke: Invoke, invoke_json: InvokeJson, wait: tuple[str, ...]
) -> None:
    submit = ("submit", "chat", "--id", "my-own-job-id-0001")
    assert "duplicate" not in invoke_json(*submit, "first", "--wait")
    told = invoke(*submit, "second", *wait)
    assert (told.exit_code, "this id was there already" in told.stderr) == (0, True)
    assert told.stdout.splitlines()[0] == ("first" if wait else "my-own-job-id-0001")
    assert invoke_json(*submit, "third", *wait)["duplicate"] is True


def test_submit_passes_on_what_is_said_of_the_job(invoke_json: InvokeJson, fake_app: App) -> None:
    request = {"messages": [{"role": "user", "content": "hello"}], "temperature": 0}
    submitted = invoke_json(
        *("submit", "chat", "--request", "-", "--lane", "interactive", "--plan", "free", "--tier", "medium"),
        *("--cloud", "groq, openai", "--deadline-seconds", "60", "--id", "my-own-job-id-0001", "--tenant", "acme"),
        *("--own-key", "openai/main", "--max-cost-usd", "0.5", "--metadata", "team=hr", "--metadata", "note=a=b"),
        "--wait",
        stdin=json.dumps(request),
    )
    [job] = fake_app.fleet.jobs
    assert (job.id, job.tenant, job.request) == ("my-own-job-id-0001", "acme", request)
    assert (job.lane, job.plan, job.tier) == ("interactive", "free", "medium")
    assert job.cloud.providers == frozenset({"groq", "openai"})
    assert (job.own_key, job.max_cost_usd) == ("openai/main", 0.5)
    assert job.metadata == {"team": "hr", "note": "a=b"}
    assert job.deadline_at is not None
    assert submitted["id"] == job.id


def test_status_shows_streams_and_targets(invoke: Invoke) -> None:
    lines = [" ".join(line.split()) for line in invoke("status").stdout.splitlines()]
    assert "JOBS 1,200" in lines
    assert "fleet $12.5000 $0.2500 $50.0000" in lines
    assert "llama-8b fleet running 2 1,234 93 s, seen 4 times" in lines
    assert "gpt-4o openai no key - 0 - set OPENAI_API_KEY" in lines
    assert "a1b2c3d4 gpu-1 pid 4711, on Ray serving 12 5 41% 1 s ago" in lines
    assert "NATS nats://127.0.0.1:4222, as of 12:00:03 UTC" in lines
    assert "replicas as Serve has them now, by the dashboard http://127.0.0.1:8265" in lines
    lag = "ledger 1,200 lines not in the database yet; where they do not get fewer, the log of its writer says why"
    assert lag in lines


def test_the_json_of_the_status_names_everything(invoke_json: InvokeJson) -> None:
    status = invoke_json("status", "--nats-url", "nats://broker:4222")
    assert status["profile"] == "local"
    assert status["nats_url"] == "nats://broker:4222"
    assert status["streams"] == {"JOBS": 1200, "RESULTS": 3}
    assert status["spend"][1] == {"tenant": "acme", "spent_usd": 1.0, "reserved_usd": 0.0, "limit_usd": 5.0}
    target = {"name", "provider", "state", "replicas", "starting", "queued", "message", "breaker", "cold_start"}
    assert set(status["targets"][0]) == target
    assert set(status["dispatchers"][0]) == {
        *("name", "state", "age_seconds", "host", "pid", "on_ray", "held", "targets", "cpu_share", "shut"),
    }


def test_topology_apply_says_what_changed(invoke: Invoke, invoke_json: InvokeJson) -> None:
    assert [line.split() for line in invoke("topology", "apply").stdout.splitlines()] == [
        ["JOBS", "created"],
        ["WORK", "unchanged"],
    ]
    assert invoke_json("topology", "apply") == {"streams": {"JOBS": "created", "WORK": "unchanged"}}


def test_topology_apply_changes_the_replicas_only_where_it_is_told_to(invoke: Invoke, fake_app: App) -> None:
    invoke("topology", "apply")
    invoke("topology", "apply", "--replicas", "3")
    assert fake_app.calls == ["topology of as many as there are replicas", "topology of 3 replicas"]


def test_the_address_of_the_fleet_comes_from_the_option_or_the_environment_or_is_local(
    invoke_json: InvokeJson, fake_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke_json("dispatcher")
    monkeypatch.setenv("FLEET_NATS_URL", "nats://from-env:1")
    invoke_json("dispatcher")
    invoke_json("dispatcher", "--nats-url", "nats://from-option:1")
    addresses = ("nats://127.0.0.1:4222", "nats://from-env:1", "nats://from-option:1")
    assert fake_app.calls == [f"dispatcher at {address}" for address in addresses]


def test_bulk_run_answers_a_file(invoke: Invoke, tmp_path: Path) -> None:
    source, sink = tmp_path / "jobs.jsonl", tmp_path / "results.jsonl"
    line = {"task": "chat", "messages": [{"role": "user", "content": "hello"}]}
    source.write_text(json.dumps(line) + "\n{oops\n")
    result = invoke("bulk", "run", str(source), "-o", str(sink))
    assert result.stdout == f"2 lines: 1 succeeded, 1 unreadable → {sink}\n"
    assert len(sink.read_text().splitlines()) == 2


def test_the_json_of_a_bulk_run_counts_outcomes(invoke_json: InvokeJson, tmp_path: Path) -> None:
    (tmp_path / "jobs.jsonl").write_text("{oops\n")
    sink = str(tmp_path / "out.jsonl")
    assert invoke_json("bulk", "run", str(tmp_path / "jobs.jsonl"), "-o", sink) == {
        "lines": 1,
        "outcomes": {"unreadable": 1},
        "output": sink,
    }


def test_what_is_said_of_an_id_that_nobody_knows_says_so(invoke: Invoke, fake_app: App) -> None:
    fake_app.fleet.answer = lambda job: None
    said = invoke("feedback", "nobody-knows-this-id", "good").stdout
    assert said.startswith("nobody-knows-this-id: good is stored, but tenant demo has no result of this id")


def test_a_cancelled_job_that_had_not_begun_may_be_one_that_nobody_knows(
    invoke: Invoke, invoke_json: InvokeJson, fake_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = CancelledJob()
    monkeypatch.setattr(jobs, "open_client", lambda settings: nullcontext(cancelled))
    said = invoke("cancel", JOB_ID).stdout
    assert said.startswith(f"{JOB_ID}: cancelled: it had not begun. If no job of this id is known, one that comes")
    cancelled.attempts = (attempt(1, "llama-8b", "leave", 0.41),)
    assert invoke("cancel", JOB_ID).stdout == f"{JOB_ID}: cancelled\n"
    assert invoke_json("cancel", JOB_ID)["had_begun"] is True


def test_a_price_has_its_last_digit(invoke: Invoke, fake_app: App) -> None:
    cheap = replace(attempt(1, "llama-8b", "leave", 0.97), cost_usd=0.000000033)
    fake_app.fleet.answer = lambda job: succeeded(job, "leave", attempts=(cheap,))
    assert "cost    $0.000000033" in invoke("submit", "chat", "hello", "--wait").stdout


ERRORS = [
    (("submit", "chat"), "wrong job: request: give either a prompt or --request FILE"),
    (("submit", "chat", "hello", "--id", "short"), "wrong job: id: must match"),
    (("submit", "chat", "hello", "--tenant", "a.b"), "wrong setting: tenant: must match"),
    (("submit", "chat", "--request", "nowhere.json"), "nowhere.json: no such file or directory"),
    (("result", "nobody-knows-this-id"), "has no result yet: ask again, or check the id"),
    (("status", "--nats-url", "http://x"), "wrong setting: nats_url: must be nats://host:port"),
    (("status", "--nats-url", "nats://"), "wrong setting: nats_url: must be nats://host:port"),
    (("status", "--nats-url", "nats://127.0.0.1:notaport"), "wrong setting: nats_url: must be nats://host:port"),
    (("bulk", "run", "nowhere.jsonl", "-o", "out.jsonl"), "nowhere.jsonl: no such file or directory"),
]


@pytest.mark.parametrize(("arguments", "advice"), ERRORS)
def test_an_expected_error_is_one_line_that_says_what_to_do(
    invoke: Invoke, arguments: tuple[str, ...], advice: str
) -> None:
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("fleet: ")
    assert result.stderr.count("\n") == 1
    assert advice in result.stderr


@pytest.mark.parametrize(("arguments", "advice"), ERRORS)
def test_the_json_of_an_error_is_the_same_line(
    invoke_json: InvokeJson, arguments: tuple[str, ...], advice: str
) -> None:
    assert advice in invoke_json(*arguments, exit_code=1)["error"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{", b"[" * 100_000], ids=["no UTF-8", "no JSON", "too deep"])
def test_a_request_that_cannot_be_read_is_one_line(invoke: Invoke, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "request.json"
    file.write_bytes(content)
    result = invoke("submit", "chat", "--request", str(file))
    assert result.exit_code == 1
    assert result.stderr == f"fleet: wrong job: request: {file} must hold JSON in UTF-8\n"


@pytest.mark.parametrize("command", [("submit", "chat", "hello"), ("result", "some-job-id-000001"), ("status",)])
def test_without_a_fleet_a_command_says_how_to_start_one(
    invoke: Invoke, fake_app: App, command: tuple[str, ...]
) -> None:
    fake_app.is_up = False
    result = invoke(*command)
    assert result.exit_code == 1
    assert "nothing listens at nats://" in result.stderr
    assert "start a fleet with `fleet up`, or name another with --nats-url" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_wait_that_takes_too_long_names_the_job(invoke: Invoke, fake_app: App) -> None:
    fake_app.fleet.answer = lambda job: None
    result = invoke("submit", "chat", "hello", "--wait", "--timeout-seconds", "0.01", "--id", "my-own-job-id-0001")
    assert result.exit_code == 1
    assert "job my-own-job-id-0001 has no result" in result.stderr


def test_a_bug_keeps_its_traceback(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys.modules["fleet.app"], "apply_topology", broken)
    assert isinstance(invoke("topology", "apply").exception, ZeroDivisionError)


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("submit",),
        ("demo", "--jobs", "0"),
        ("submit", "chat", "hello", "--lane", "express"),
        ("submit", "chat", "hello", "--metadata", "team"),
        ("submit", "chat", "hello", "--max-cost-usd", "0"),
        ("result",),
    ],
)
def test_wrong_usage_exits_with_2(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    assert invoke(*arguments).exit_code == 2


def test_a_dispatcher_runs_on_the_event_loop_that_was_measured(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def run_dispatcher(settings: object) -> None:
        loops.append(asyncio.get_running_loop())

    monkeypatch.setattr(sys.modules["fleet.app"], "run_dispatcher", run_dispatcher)
    invoke("dispatcher")
    assert [type(loop) for loop in loops] == [uvloop.Loop]


def test_every_command_can_print_json() -> None:
    groups = [typer_app, *(group.typer_instance for group in typer_app.registered_groups)]
    commands = [command.callback for group in groups if group for command in group.registered_commands]
    assert len(commands) > 20
    assert all("as_json" in command.__annotations__ for command in commands if command)


def test_help_loads_nothing_heavy() -> None:
    heavy = {"ray", "torch", "vllm", "openai", "nats", "pydantic", "numpy"}
    code = f"import sys, fleet.cli; print(sorted({heavy!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
