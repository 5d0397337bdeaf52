"""A service is tested against a fleet in memory: with the real client, and answers that its test has written."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fleet.client import (
    FleetClient,
    InvalidJob,
    Lane,
    Reason,
    Result,
    Status,
    SyncFleetClient,
    Verdict,
    submission,
)
from fleet.model.attempt import Failure, FailureKind
from fleet.testing import Answered, Expired, Failed, Job, MemoryFleet, Reply, Unanswered, UnscriptedTask

HELLO = [{"role": "user", "content": "hello"}]


def text(result: Result) -> str:
    assert result.answer is not None
    return result.answer.text


async def ask(client: FleetClient, task: str = "chat", lane: Lane = Lane.STANDARD) -> Result:
    return await client.run(task=task, messages=HELLO, lane=lane, metadata={"screen": "inbox"})


def by_lane(job: Job) -> Reply:
    return f"{job.tenant} on {job.lane}"


async def test_each_task_is_answered_as_scripted() -> None:
    async with MemoryFleet({"classify.sentiment": "positive", "chat": by_lane}) as fleet:
        client = fleet.client("acme")
        assert text(await ask(client, "classify.sentiment")) == "positive"
        assert [text(await ask(client, lane=lane)) for lane in Lane] == [f"acme on {lane}" for lane in Lane]
        assert text(await ask(fleet.client("globex"))) == "globex on standard"
    assert [job.task for job in fleet.jobs] == ["classify.sentiment", *["chat"] * 4]


async def test_a_function_may_answer_everything() -> None:
    async with MemoryFleet(lambda job: job.request["messages"][-1]["content"]) as fleet:
        assert text(await ask(fleet.client("acme"))) == "hello"


async def test_a_plain_text_is_a_succeeded_result_with_one_attempt() -> None:
    async with MemoryFleet({"chat": "hello"}) as fleet:
        result = await ask(fleet.client("acme"))
    assert (result.status, result.reason, result.target) == (Status.SUCCEEDED, Reason.CONFIDENT, "llama-8b")
    assert (result.task, result.metadata, len(result.attempts)) == ("chat", {"screen": "inbox"}, 1)


async def test_an_escalation_shows_in_the_attempts_and_the_cost() -> None:
    reply = Answered("hello", target="gpt-4o", confidence=0.9, escalated_from=("llama-8b", "llama-70b"), cost_usd=0.01)
    async with MemoryFleet({"chat": reply}) as fleet:
        result = await ask(fleet.client("acme"))
    assert [(each.target, each.reason) for each in result.attempts] == [
        ("llama-8b", Reason.ROUTED),
        ("llama-70b", Reason.LOW_CONFIDENCE),
        ("gpt-4o", Reason.LOW_CONFIDENCE),
    ]
    assert (result.target, result.confidence, result.cost_usd) == ("gpt-4o", 0.9, 0.01)


async def test_an_answer_may_be_a_whole_message_and_the_best_there_was() -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "book", "arguments": "{}"}}]
    reply = Answered({"content": None, "tool_calls": calls}, status=Status.BEST_EFFORT)
    async with MemoryFleet({"chat": reply}) as fleet:
        result = await ask(fleet.client("acme"))
    assert result.answer is not None
    assert (result.answer.message["tool_calls"], result.answer.finish_reason) == (calls, "tool_calls")
    assert (result.status, result.reason) == (Status.BEST_EFFORT, Reason.LADDER_EXHAUSTED)


async def test_a_failure_says_how_the_target_failed() -> None:
    async with MemoryFleet({"chat": Failed("too many requests", FailureKind.RATE_LIMITED)}) as fleet:
        result = await ask(fleet.client("acme"))
    assert (result.status, result.answer) == (Status.FAILED, None)
    assert result.problem is not None
    assert result.problem.message == "too many requests"
    [attempt] = result.attempts
    assert isinstance(attempt.outcome, Failure)
    assert attempt.outcome.kind is FailureKind.RATE_LIMITED


@pytest.mark.parametrize(("reply", "deadline_seconds"), [(Expired(), None), ("too late", -1.0)])
async def test_a_job_expires_as_scripted_or_by_its_own_deadline(reply: Reply, deadline_seconds: float | None) -> None:
    async with MemoryFleet({"chat": reply}) as fleet:
        result = await fleet.client("acme").run(task="chat", messages=HELLO, deadline_seconds=deadline_seconds)
    assert (result.status, result.reason) == (Status.EXPIRED, Reason.DEADLINE_PASSED)


async def test_an_unanswered_job_waits_until_it_is_cancelled() -> None:
    async with MemoryFleet({"chat": Unanswered(), "quick": "done"}) as fleet:
        client = fleet.client("acme")
        job_id = await client.submit(task="chat", messages=HELLO)
        with pytest.raises(TimeoutError, match=job_id):
            await client.wait(job_id, timeout_seconds=0.01)
        assert await client.cancel(job_id) is True
        assert (await client.wait(job_id)).status is Status.CANCELLED
        assert await client.cancel((await ask(client, "quick")).job_id) is False


async def test_what_the_fleet_would_reject_is_rejected() -> None:
    async with MemoryFleet({"chat": "hello"}) as fleet:
        client = fleet.client("acme")
        with pytest.raises(InvalidJob, match="lane"):
            await client.submit(task="chat", messages=HELLO, lane="express")
        result = await client.run(task="chat", request={"messages": []})
    assert (result.status, fleet.jobs) == (Status.REJECTED, [])
    assert result.problem is not None
    assert result.problem.field == "request.messages"


async def test_a_repeated_id_is_one_job() -> None:
    async with MemoryFleet({"chat": "hello"}) as fleet:
        again = submission(task="chat", messages=HELLO, id="my-own-job-id-0001")
        assert list(await fleet.client("acme").submit_many([again, again])) == [True, False]


async def test_feedback_and_a_better_answer_can_be_checked() -> None:
    async with MemoryFleet({"chat": "hello"}) as fleet:
        client = fleet.client("acme")
        first = await ask(client)
        await client.feedback(first.job_id, "edited", text="Hello, Ada")
        await client.wait(await client.better(first.job_id, task="chat", messages=HELLO))
    assert [(said.verdict, said.changed) for said in fleet.feedback()] == [
        (Verdict.EDITED, True),
        (Verdict.BETTER, None),
    ]
    assert fleet.jobs[1].above == "llama-8b"


async def test_an_unscripted_task_fails_the_test_and_names_those_that_are_scripted() -> None:
    with pytest.raises(UnscriptedTask, match=r"no answer is scripted for task 'chat'; scripted tasks: 'a', 'b'"):
        async with MemoryFleet({"a": "1", "b": "2"}) as fleet:
            assert (await ask(fleet.client("acme"))).status is Status.FAILED


async def test_an_unscripted_task_is_named_beside_the_error_it_caused() -> None:
    with pytest.raises(AssertionError, match="the service gave up") as raised:
        async with MemoryFleet({}) as fleet:
            await ask(fleet.client("acme"))
            raise AssertionError("the service gave up")
    [note] = raised.value.__notes__
    assert "no answer is scripted for task 'chat'; scripted tasks: none" in note


async def test_an_error_in_the_script_fails_the_test_and_the_fleet_answers_on() -> None:
    def script(job: Job) -> Reply:
        return {"one": "1", "two": 2}[job.task]  # type: ignore[return-value]

    fleet = MemoryFleet(script)
    with pytest.raises(TypeError, match=r"must give a str or a reply of fleet\.testing, not 2"):
        async with fleet:
            client = fleet.client("acme")
            assert (await ask(client, "two")).status is Status.FAILED
            assert (await ask(client, "three")).status is Status.FAILED
            assert text(await ask(client, "one")) == "1"


def test_a_script_that_fails_the_test_fails_it() -> None:
    def script(job: Job) -> Reply:
        pytest.fail("wrong prompt")

    with pytest.raises(pytest.fail.Exception, match="wrong prompt"), MemoryFleet(script) as fleet:
        assert fleet.sync_client("acme").run(task="chat", messages=HELLO).status is Status.FAILED


@pytest.mark.parametrize(
    "reply",
    [
        Answered({"content": object()}),
        "\ud800",
        Answered("x", cost_usd="1"),  # type: ignore[arg-type]
        Answered("x", confidence=float("nan")),
        Answered("x", confidence=True),
        Failed(None),  # type: ignore[arg-type]
    ],
    ids=["no JSON", "no text", "no number", "not finite", "true", "no message"],
)
async def test_a_reply_that_cannot_be_stored_fails_the_test_and_names_its_task(reply: Reply) -> None:
    fleet = MemoryFleet({"chat": reply})
    with pytest.raises(TypeError, match="the scripted reply to task 'chat' "):
        async with fleet:
            assert (await ask(fleet.client("acme"))).status is Status.FAILED


def test_a_script_that_calls_the_synchronous_client_is_told_that_it_would_wait_for_itself() -> None:
    def script(job: Job) -> Reply:
        return text(fleet.sync_client("acme").wait(job.id))

    fleet = MemoryFleet(script)
    with pytest.raises(RuntimeError, match="called on its own event loop"), fleet:
        assert fleet.sync_client("acme").run(task="chat", messages=HELLO).status is Status.FAILED


def test_a_synchronous_service_is_tested_alike() -> None:
    with MemoryFleet({"chat": by_lane, "slow": Unanswered()}) as fleet:
        client = fleet.sync_client("acme")
        assert isinstance(client, SyncFleetClient)
        result = client.run(task="chat", messages=HELLO)
        assert text(result) == "acme on standard"
        client.feedback(result.job_id, "good")
        assert client.cancel(client.submit(task="slow", messages=HELLO)) is True
        client.close()
    assert [said.verdict for said in fleet.feedback()] == [Verdict.GOOD]
    with pytest.raises(RuntimeError, match="closed"):
        client.result(result.job_id)


def test_an_unscripted_task_fails_a_synchronous_test_too() -> None:
    with pytest.raises(UnscriptedTask), MemoryFleet({}) as fleet:
        fleet.sync_client("acme").run(task="chat", messages=HELLO)


async def test_the_other_kind_of_client_is_refused_with_the_way_out() -> None:
    fleet = MemoryFleet({})
    with pytest.raises(RuntimeError, match="needs `async with MemoryFleet"):
        fleet.client("acme")
    async with fleet:
        with pytest.raises(RuntimeError, match="needs `with MemoryFleet"):
            fleet.sync_client("acme")


def test_testing_loads_nothing_heavy() -> None:
    heavy = {"ray", "torch", "vllm", "numpy", "sklearn", "openai", "anthropic", "groq", "transformers", "typer"}
    code = f"import sys, fleet.testing; print(sorted({heavy!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
