"""A service as its author's type checker sees it. Each line that is wrong is marked with the error it must have.

mypy --strict reports a mark without an error too, so none of the public names may become `Any`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import assert_type

from fleet.client import (
    Answer,
    Attempt,
    Credentials,
    FleetClient,
    JobOptions,
    Lane,
    Plan,
    Problem,
    QueueUnavailable,
    Reason,
    Result,
    Status,
    Submission,
    SyncFleetClient,
    Tier,
    Verdict,
    submission,
)
from fleet.testing import Answered, Failed, Feedback, Job, MemoryFleet, Reply

URGENT: JobOptions = {"lane": Lane.INTERACTIVE, "tier": Tier.SIMPLE, "plan": Plan.PAID, "deadline_seconds": 5}
MESSAGES = [{"role": "user", "content": "hello"}]
CREDENTIALS = Credentials(user="tenant-acme", password="invented", ca_path=Path("ca.pem"))


async def asynchronous() -> None:
    async with FleetClient.connect("nats://127.0.0.1:4222", tenant="acme", credentials=CREDENTIALS) as client:
        assert_type(client, FleetClient)
        assert_type(await client.run(task="chat", messages=MESSAGES, timeout_seconds=5, **URGENT), Result)
        assert_type(await client.submit(task="chat", messages=MESSAGES), str)
        assert_type(await client.result("id"), Result | None)
        assert_type(await client.cancel("id"), bool)
        async for result in client.results():
            assert_type(result, Result)
        await client.run(tsk="chat")  # type: ignore[call-arg]
        await client.run(task="chat", messages=MESSAGES, lane=3)  # type: ignore[arg-type]
        await client.feedback("id", 5)  # type: ignore[arg-type]
    FleetClient.connect("nats://127.0.0.1:4222")  # type: ignore[call-arg]


def synchronous() -> None:
    with SyncFleetClient.connect("nats://127.0.0.1:4222", tenant="acme") as client:
        assert_type(client, SyncFleetClient)
        assert_type(client.run(task="chat", messages=MESSAGES, timeout_seconds=5, **URGENT), Result)
        assert_type(client.submit(task="chat", messages=MESSAGES), str)
        assert_type(client.submit_many([submission(task="chat", messages=MESSAGES)]), Sequence[bool])
        assert_type(client.result("id"), Result | None)
        assert_type(client.wait("id", timeout_seconds=1), Result)
        assert_type(client.cancel("id"), bool)
        assert_type(client.better("id", task="chat", messages=MESSAGES), str)
        assert_type(client.results(), Iterator[Result])
        client.feedback("id", Verdict.GOOD, text="a remark")
        client.run(tsk="chat")  # type: ignore[call-arg]
        client.run(task="chat", messages=MESSAGES, lane=3)  # type: ignore[arg-type]
        client.wait("id", 5)  # type: ignore[call-arg]
        client.feedback("id", 5)  # type: ignore[arg-type]
        client.sumbit(task="chat")  # type: ignore[attr-defined]


def read(result: Result) -> str:
    assert_type(result.status, Status)
    assert_type(result.reason, Reason)
    assert_type(result.answer, Answer | None)
    assert_type(result.problem, Problem | None)
    assert_type(result.attempts, tuple[Attempt, ...])
    result.status = Status.FAILED  # type: ignore[misc]
    return result.answer.text  # type: ignore[union-attr]


def repeated(client: SyncFleetClient) -> str:
    job = submission(task="chat", messages=MESSAGES, id="my-own-job-id-0001")
    assert_type(job, Submission)
    try:
        client.submit_many([job])
    except QueueUnavailable as error:
        return str(error)
    return job.id


def script(job: Job) -> Reply:
    return Answered("hello", escalated_from=["llama-8b"]) if job.lane is Lane.BULK else Failed()


async def tested() -> None:
    async with MemoryFleet({"chat": "hello", "other": script}) as fleet:
        assert_type(fleet.client("acme"), FleetClient)
    with MemoryFleet(script) as fleet:
        assert_type(fleet.sync_client("acme"), SyncFleetClient)
        assert_type(fleet.feedback(), Sequence[Feedback])
    MemoryFleet({"chat": 5})  # type: ignore[dict-item]
