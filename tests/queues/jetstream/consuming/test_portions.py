"""Large jobs pass in portions: for a client that more than 64 MB wait for, the server cuts the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import pytest
from patience import PATIENCE_SECONDS
from queue_rigs import JetStreamRig, jetstream_rig

from fleet.model.delivery import Ack, JobsOf, Stored
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from queues.jetstream.client.connection import Connection
from queues.jetstream.client.frames import Arrival
from queues.jetstream.consuming.inlet import MAX_PULL_BYTES, Inlet
from queues.jetstream.queue import CHUNK_BYTES, CHUNK_MESSAGES, store
from queues.server.embedded import EmbeddedServer
from queues.wire.letters import Message

BULK = JobsOf(Lane.BULK)


@pytest.fixture
async def rig(own_server: EmbeddedServer) -> AsyncIterator[JetStreamRig]:
    async with AsyncExitStack() as stack:
        yield await jetstream_rig(stack, own_server.url, ack_wait_seconds=30.0)


async def test_300_jobs_of_400_kb_are_all_taken_on_one_connection(rig: JetStreamRig) -> None:
    bodies = [b"%03d" % number + b"x" * 400_000 for number in range(300)]
    stored = await store(rig.connection, [Message("jobs.bulk.acme", body) for body in bodies])

    taken: list[bytes] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(taken) < len(bodies):
            deliveries = await rig.queue.take(BULK, 256, PATIENCE_SECONDS)
            assert 0 < sum(len(delivery.raw) for delivery in deliveries) <= MAX_PULL_BYTES
            taken += [delivery.raw for delivery in deliveries]
            await rig.queue.settle([Ack(delivery) for delivery in deliveries])

    assert stored == [Stored.NEW] * 300
    assert sorted(taken) == bodies
    assert rig.connection.nats.stats["reconnects"] == 0


@pytest.mark.parametrize(("size", "count"), [(1_000_000, 40), (1, CHUNK_MESSAGES + 10)])
async def test_messages_are_stored_in_portions(
    rig: JetStreamRig, monkeypatch: pytest.MonkeyPatch, size: int, count: int
) -> None:
    exchange, portions = rig.connection.exchange, list[Sequence[Message]]()

    async def noted(messages: Sequence[Message]) -> list[Arrival]:
        portions.append(messages)
        return await exchange(messages)

    monkeypatch.setattr(rig.connection, "exchange", noted)

    stored = await store(rig.connection, [Message("dead.acme", b"x" * size)] * count)

    assert stored == [Stored.NEW] * count
    assert len(portions) > 1
    assert all(len(portion) <= CHUNK_MESSAGES for portion in portions)
    assert all(sum(message.size_bytes for message in portion) <= CHUNK_BYTES for portion in portions)


class Line:
    """A connection to a server that the test plays: `asked` holds where the answers to each pull go."""

    max_message_bytes = 1_000_000
    generation = 0

    def __init__(self) -> None:
        self.asked: asyncio.Queue[str] = asyncio.Queue()
        self.say: Callable[[Arrival], None]

    def new_inbox(self) -> str:
        return "_INBOX.one"

    async def subscribe(self, _: str, callback: Callable[[Arrival], None]) -> None:
        self.say = callback

    @asynccontextmanager
    async def waiting(self, timeout_seconds: float) -> AsyncIterator[asyncio.Future[Any]]:
        async with asyncio.timeout(timeout_seconds):
            yield asyncio.get_running_loop().create_future()

    async def send(self, _: Message, reply: str) -> None:
        self.asked.put_nowait(reply)


def status(subject: str, code: str, description: str) -> Arrival:
    return Arrival(subject.encode(), b"", b"", f"NATS/1.0 {code} {description}\r\n\r\n".encode())


JOB = Arrival(b"jobs.bulk.acme", b"", b"{}")


async def test_the_late_end_of_one_pull_does_not_end_the_next() -> None:
    line = Line()
    inlet = Inlet(cast(Connection, line), "JOBS", "bulk")
    first = asyncio.create_task(inlet.pull(1, PATIENCE_SECONDS, 0))
    first_inbox = await line.asked.get()
    line.say(JOB)
    assert await first == [JOB]

    second = asyncio.create_task(inlet.pull(2, PATIENCE_SECONDS, 0))
    second_inbox = await line.asked.get()
    line.say(status(first_inbox, "409", "Batch Completed"))
    line.say(JOB)
    line.say(status(second_inbox, "409", "Message Size Exceeds MaxBytes"))

    assert await second == [JOB]


async def test_a_pull_that_is_refused_says_why() -> None:
    line = Line()
    pull = asyncio.create_task(Inlet(cast(Connection, line), "JOBS", "bulk").pull(1, PATIENCE_SECONDS, 0))

    inbox = await line.asked.get()
    line.say(status(inbox, "409", "Consumer Deleted"))

    with pytest.raises(QueueUnavailable, match="Consumer Deleted"):
        await pull
