"""The client on a real server, across its restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from memory_fleet import echo, succeeded
from patience import PATIENCE_SECONDS
from queue_rigs import JetStreamRig, jetstream_rig

from fleet.app.worker import SystemClock
from fleet.client import FleetClient
from fleet.dispatch.maintenance.cancelling import Cancelling
from fleet.model.delivery import Ack, JobsOf
from fleet.model.errors import QueueUnavailable
from fleet.model.feedback import Verdict
from fleet.model.job import Job, Lane
from fleet.model.result import Status
from queues.server.embedded import EmbeddedServer

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path) as server:
        yield server


@pytest.fixture
async def rig(server: EmbeddedServer) -> AsyncIterator[JetStreamRig]:
    async with AsyncExitStack() as stack:
        yield await jetstream_rig(stack, server.url, ack_wait_seconds=30.0)


@pytest.fixture
async def client(server: EmbeddedServer, rig: JetStreamRig) -> AsyncIterator[FleetClient]:
    async with FleetClient.connect(server.url, tenant="acme") as client:
        yield client


async def answer_one(rig: JetStreamRig) -> str:
    [delivery] = await rig.queue.take(JobsOf(Lane.STANDARD), 1, PATIENCE_SECONDS)
    assert isinstance(delivery.body, Job)
    await rig.queue.publish([echo(delivery.body)])
    await rig.queue.settle([Ack(delivery)])
    return delivery.body.id


async def test_a_job_is_answered(client: FleetClient, rig: JetStreamRig) -> None:
    running = asyncio.create_task(client.run(task="chat", messages=HELLO))
    assert await answer_one(rig) == (await running).job_id


async def test_a_run_outlives_a_restart_of_the_server(
    client: FleetClient, rig: JetStreamRig, server: EmbeddedServer
) -> None:
    running = asyncio.create_task(client.run(task="chat", messages=HELLO))
    [delivery] = await rig.queue.take(JobsOf(Lane.STANDARD), 1, PATIENCE_SECONDS)
    assert isinstance(delivery.body, Job)
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    await rig.queue.publish([echo(delivery.body)])
    assert (await running).job_id == delivery.body.id


async def test_a_stored_result_is_fetched_by_a_client_that_came_later(
    client: FleetClient, rig: JetStreamRig, server: EmbeddedServer
) -> None:
    job_id = await client.submit(task="chat", messages=HELLO)
    await answer_one(rig)
    async with FleetClient.connect(server.url, tenant="acme") as later:
        assert (await later.wait(job_id)).job_id == job_id
    async with FleetClient.connect(server.url, tenant="globex") as stranger:
        assert await stranger.result(job_id) is None


async def test_feedback_and_the_job_asked_for_again_arrive(client: FleetClient, rig: JetStreamRig) -> None:
    job_id = await client.submit(task="chat", messages=HELLO)
    await answer_one(rig)

    await client.feedback(job_id, "edited", text="Hello!")
    again = await client.better(job_id, task="chat", messages=HELLO)

    [delivery] = await rig.queue.take(JobsOf(Lane.STANDARD), 1, PATIENCE_SECONDS)
    assert isinstance(delivery.body, Job)
    assert (delivery.body.id, delivery.body.above) == (again, "llama-8b")
    said = [each async for each in rig.journal().feedback()]
    assert [(each.job_id, each.tenant, each.verdict, each.target) for each in said] == [
        (job_id, "acme", Verdict.EDITED, "llama-8b"),
        (job_id, "acme", Verdict.BETTER, "llama-8b"),
    ]
    assert [each.changed for each in said] == [False, None]


async def test_a_cancelled_job_ends_as_cancelled_and_an_answered_one_does_not(
    client: FleetClient, rig: JetStreamRig
) -> None:
    """A dispatcher's own part of it is all real: it follows the wishes and answers them."""
    stop = asyncio.Event()
    dispatcher = asyncio.create_task(Cancelling(rig.cancels(), rig.queue, SystemClock()).watch(stop))
    waiting = await client.submit(task="chat", messages=HELLO)
    answered = await client.submit(task="chat", messages=HELLO, lane="interactive")
    [delivery] = await rig.queue.take(JobsOf(Lane.INTERACTIVE), 1, PATIENCE_SECONDS)
    assert isinstance(delivery.body, Job)
    await rig.queue.publish([echo(delivery.body)])

    assert await client.cancel(waiting) is True
    assert await client.cancel(waiting) is True
    assert await client.cancel(answered) is False
    assert await client.cancel("job-nobody-has-submitted") is True
    assert (await client.wait(waiting)).status is Status.CANCELLED
    stop.set()
    await dispatcher


async def test_a_wish_outlives_a_restart_of_the_server_and_is_answered_then(
    client: FleetClient, rig: JetStreamRig, server: EmbeddedServer
) -> None:
    stop = asyncio.Event()
    dispatcher = asyncio.create_task(Cancelling(rig.cancels(), rig.queue, SystemClock()).watch(stop))
    assert await client.cancel("job-before-the-restart") is True
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    assert await cancelled_in_the_end(client, "job-after-the-restart") is True
    stop.set()
    await dispatcher


async def cancelled_in_the_end(client: FleetClient, job_id: str) -> bool:
    """As the documentation says: repeat it where the broker does not answer."""
    while True:
        try:
            return await client.cancel(job_id)
        except QueueUnavailable:
            await asyncio.sleep(0)


async def test_without_a_dispatcher_the_wish_is_stored_and_the_caller_told(
    client: FleetClient, rig: JetStreamRig
) -> None:
    with pytest.raises(TimeoutError, match="job-0000000000000001"):
        await client.cancel("job-0000000000000001", timeout_seconds=0.05)
    assert len(await rig.stored("CANCELS")) == 1


async def test_a_result_larger_than_a_message_reaches_the_client_whole(client: FleetClient, rig: JetStreamRig) -> None:
    text = "word " * 2_000_000
    running = asyncio.create_task(client.run(task="chat", messages=HELLO, timeout_seconds=PATIENCE_SECONDS))
    [delivery] = await rig.queue.take(JobsOf(Lane.STANDARD, "acme"), 1, PATIENCE_SECONDS)
    assert isinstance(delivery.body, Job)
    await rig.queue.publish([succeeded(delivery.body, text)])
    result = await running
    assert result.answer is not None
    assert result.answer.text == text
