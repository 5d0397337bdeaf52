"""The server announces a result before it has stored it, and one that it refuses: a client believes what is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from memory_fleet import succeeded

from fleet.bulk.inbox import Inbox
from fleet.client import FleetClient
from fleet.model.delivery import Stored
from fleet.model.job import Job, Lane, Plan
from fleet.model.result import Result
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply
from queues.server.embedded import EmbeddedServer
from queues.wire.letters import Message, message_of

JOB = Job("job-000000000001", "acme", Lane.BULK, "chat", Plan.PAID, {"messages": []}, submitted_at=1.0)
NEVER_SECONDS = 3600.0


@pytest.fixture
async def connection(own_server: EmbeddedServer) -> AsyncIterator[Connection]:
    made = await connect(own_server.url)
    await apply(made.nats.jetstream(), TopologySpec())
    yield made
    await made.close()


def text(result: Result) -> str:
    assert result.answer is not None
    return result.answer.text


async def announce_only(connection: Connection, result: Result) -> None:
    """Passed on to all who listen, and refused by the stream: no message of the subject has such a number."""
    message = message_of(result)
    fence = {"Nats-Expected-Last-Subject-Sequence": "999"}
    [reply] = await connection.exchange([Message(message.subject, message.data, fence)])
    assert b'"error"' in reply.data


async def test_a_result_that_is_announced_and_not_stored_is_not_handed_on(connection: Connection) -> None:
    desk = JetStreamDesk(connection, "acme")
    async with Inbox(desk, NEVER_SECONDS) as inbox:
        client = FleetClient(desk, inbox)
        heard = client.results()
        first = asyncio.ensure_future(anext(heard))
        waiting = asyncio.create_task(client.wait(JOB.id))
        await connection.nats.flush()
        await announce_only(connection, succeeded(JOB, "never stored"))
        assert await client.result(JOB.id) is None
        assert await JetStreamQueue(connection).publish([succeeded(JOB, "stored")]) == [Stored.NEW]
        assert (text(await waiting), text(await first)) == ("stored", "stored")


async def test_a_second_result_is_announced_and_the_first_is_handed_on(connection: Connection) -> None:
    queue, desk = JetStreamQueue(connection), JetStreamDesk(connection, "acme")
    assert await queue.publish([succeeded(JOB, "first")]) == [Stored.NEW]
    async with Inbox(desk, NEVER_SECONDS) as inbox:
        with inbox.expecting(JOB.id) as awaited:
            await connection.nats.flush()
            assert await queue.publish([succeeded(JOB, "second")]) == [Stored.REPEAT]
            assert text(await awaited) == "first"


async def test_every_result_that_was_handed_on_can_be_read_at_once(connection: Connection) -> None:
    queue, desk = JetStreamQueue(connection), JetStreamDesk(connection, "acme")
    async with Inbox(desk, NEVER_SECONDS) as inbox:
        client = FleetClient(desk, inbox)
        for number in range(300):
            job = Job(f"job-{number:012d}", "acme", Lane.BULK, "chat", Plan.PAID, {"messages": []}, submitted_at=1.0)
            waiting = asyncio.create_task(client.wait(job.id))
            await asyncio.sleep(0)
            await queue.publish([succeeded(job, "hello")])
            given = await waiting
            assert await desk.result(job.id) == given
