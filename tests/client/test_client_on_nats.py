"""The client on a real server, across its restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from memory_fleet import echo
from queue_rigs import JetStreamRig, jetstream_rig

from fleet.client import FleetClient
from fleet.model.delivery import Ack, JobsOf, Post
from fleet.model.feedback import Verdict
from fleet.model.job import Job, Lane
from queues.server import EmbeddedServer

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
    [delivery] = await rig.queue.take(JobsOf(Lane.STANDARD), 1, 20.0)
    assert isinstance(delivery.body, Job)
    await rig.queue.publish([Post(echo(delivery.body))])
    await rig.queue.settle([Ack(delivery)])
    return delivery.body.id


async def test_a_job_is_answered(client: FleetClient, rig: JetStreamRig) -> None:
    running = asyncio.create_task(client.run(task="chat", messages=HELLO))
    assert await answer_one(rig) == (await running).job_id


async def test_a_run_outlives_a_restart_of_the_server(
    client: FleetClient, rig: JetStreamRig, server: EmbeddedServer
) -> None:
    running = asyncio.create_task(client.run(task="chat", messages=HELLO))
    [delivery] = await rig.queue.take(JobsOf(Lane.STANDARD), 1, 20.0)
    assert isinstance(delivery.body, Job)
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    await rig.queue.publish([Post(echo(delivery.body))])
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

    [delivery] = await rig.queue.take(JobsOf(Lane.STANDARD), 1, 20.0)
    assert isinstance(delivery.body, Job)
    assert (delivery.body.id, delivery.body.above) == (again, "llama-8b")
    said = [each async for each in rig.journal().feedback()]
    assert [(each.job_id, each.tenant, each.verdict, each.target) for each in said] == [
        (job_id, "acme", Verdict.EDITED, "llama-8b"),
        (job_id, "acme", Verdict.BETTER, "llama-8b"),
    ]
    assert [each.changed for each in said] == [False, None]
