"""`fleet dead` and `fleet cancel`: what an operator and a publisher do when a job shall not go on as it does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from io import StringIO
from typing import Any

import pytest
from fake_app import App
from typer.testing import Result

from fleet.cli.ops.dead import show_list
from fleet.cli.output import Output
from fleet.model.job import Job, Lane
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, Kept, Problem, Status
from fleet.model.result import Result as JobResult
from queues.jetstream.stores.dead import MemoryDeadLetters
from queues.memory import MemoryBroker

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]

PROMPT = "planted-prompt"
LARGEST = 2**53 - 1
OLD_ID = "job-000000000001"
BODY = {"schema": 1, "id": OLD_ID, "task": "chat", "request": {"messages": [{"role": "user", "content": PROMPT}]}}


@pytest.fixture
def letters(fake_app: App) -> App:
    """Two of acme's, the second unreadable, and one of globex."""
    good = DeadLetter(
        "acme", OLD_ID, Reason.ALL_FAILED, Problem("all down"), json.dumps(BODY).encode(), 5.0, Lane.INTERACTIVE
    )
    bad = DeadLetter("acme", "invalid-000000001", Reason.INVALID, Problem("must be JSON", "body"), b"remind me", 6.0)
    other = DeadLetter("globex", OLD_ID, Reason.ALL_FAILED, Problem("all down"), json.dumps(BODY).encode(), 7.0)
    asyncio.run(fake_app.fleet.queue.publish([good, bad, other]))
    return fake_app


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), [1, 2, 3]),
        (("--tenant", "acme"), [1, 2]),
        (("--reason", "invalid"), [2]),
        (("--limit", "1"), [3]),
        (("--limit", "2"), [2, 3]),
    ],
)
def test_list_shows_the_newest_that_match(letters: App, invoke_json: InvokeJson, options, expected) -> None:
    found = invoke_json("dead", "list", *options)["letters"]
    assert [letter["seq"] for letter in found] == expected


class OneLetter(MemoryDeadLetters):
    """Keeps a letter under the largest number there is."""

    async def letters(self, tenant: str | None = None) -> AsyncIterator[Kept]:
        problem = Problem("no target may run this job: " + "claude-sonnet is shut; " * 20)
        yield Kept(
            LARGEST, DeadLetter("a-tenant-of-a-long-name", OLD_ID, Reason.TOO_MANY_DELIVERIES, problem, b"{}", 5.0)
        )


@pytest.mark.parametrize("columns", ["20", "40", "60", "80", "120"])
async def test_the_number_that_other_commands_are_given_is_whole_at_any_width(
    monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    shown = StringIO()
    await show_list(OneLetter(MemoryBroker()), Output(False, shown), None, None, 100, False)
    assert str(LARGEST) in shown.getvalue().split()
    assert "…" not in shown.getvalue()


def test_the_prompt_is_shown_only_when_asked_for(letters: App, invoke: Invoke) -> None:
    shown = invoke("dead", "list").stdout
    assert "all_failed" in shown and "chat" in shown and "all down" in shown
    assert PROMPT not in shown + invoke("dead", "show", "1").stdout + invoke("dead", "list", "--json").stdout
    assert PROMPT in invoke("dead", "show", "1", "--body").stdout
    assert PROMPT in invoke("dead", "list", "--body", "--json").stdout


def test_redrive_submits_the_job_anew_and_removes_the_letter(
    letters: App, invoke: Invoke, invoke_json: InvokeJson
) -> None:
    new_id = invoke_json("dead", "redrive", "1")["redriven"]["1"]
    assert [letter["seq"] for letter in invoke_json("dead", "list")["letters"]] == [2, 3]
    result = invoke_json("submit", "chat", "another", "--wait", "--tenant", "acme")
    assert result["status"] == "succeeded"
    [again] = [job for job in letters.fleet.jobs if job.id == new_id]
    assert (again.tenant, again.lane, again.metadata) == ("acme", Lane.INTERACTIVE, {"redriven_from": OLD_ID})


def test_a_letter_without_a_job_is_not_redriven_and_stays(
    letters: App, invoke: Invoke, invoke_json: InvokeJson
) -> None:
    refused = invoke("dead", "redrive", "2")
    assert refused.exit_code == 1
    assert "holds no job" in refused.stderr
    assert len(invoke_json("dead", "list")["letters"]) == 3


def test_drop_removes_and_says_what_is_not_there(letters: App, invoke: Invoke, invoke_json: InvokeJson) -> None:
    assert invoke_json("dead", "drop", "1", "3") == {"dropped": [1, 3]}
    again = invoke("dead", "drop", "1")
    assert (again.exit_code, "no dead letter 1" in again.stderr) == (1, True)
    assert invoke("dead", "show", "3").exit_code == 1


def cancelled(job: Job) -> JobResult:
    return JobResult(job.id, job.tenant, Status.CANCELLED, Reason.CANCELLED, 3.0, problem=Problem("called off"))


def test_cancel_says_that_the_job_has_ended(fake_app: App, invoke: Invoke) -> None:
    fake_app.fleet.answer = cancelled
    job_id = invoke("submit", "chat", "hello").stdout.strip()
    done = invoke("cancel", job_id)
    assert (done.exit_code, done.stdout.startswith(f"{job_id}: cancelled: it had not begun.")) == (0, True)


def test_cancel_fails_where_the_job_has_its_answer(fake_app: App, invoke: Invoke) -> None:
    job_id = invoke("submit", "chat", "hello", "--wait", "--json").stdout
    refused = invoke("cancel", json.loads(job_id)["id"])
    assert refused.exit_code == 1
    assert "had its result already" in refused.stderr


def test_a_job_can_be_submitted_for_later(fake_app: App, invoke: Invoke) -> None:
    invoke("submit", "chat", "hello", "--not-before-seconds", "60", "--wait")
    [job] = fake_app.fleet.jobs
    assert job.not_before_at is not None
    assert job.not_before_at > job.submitted_at + 50
