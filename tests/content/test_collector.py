"""Contents go from a real broker into the store, once, whatever fails on the way, and the broker forgets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack

import pytest
from patience import eventually
from queue_rigs import JetStreamRig, jetstream_rig

from fleet.content.collector import ContentCollector
from fleet.content.reading import ContentReader
from fleet.content.store import ContentStore
from fleet.model.content import Content
from fleet.model.errors import LedgerUnavailable
from queues.jetstream.consuming.contents import JetStreamContents
from queues.server.embedded import EmbeddedServer

NOW = 1_000_000.0


def content(number: int) -> Content:
    request = {"messages": [{"role": "user", "content": f"prompt {number}"}]}
    return Content(f"job-{number:012d}", "acme", "chat", NOW, request, {"role": "assistant", "content": "yes"}, "t")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture
async def rig(server: EmbeddedServer) -> AsyncIterator[JetStreamRig]:
    async with AsyncExitStack() as stack:
        yield await jetstream_rig(stack, server.url, ack_wait_seconds=30.0)


class FailingOnce(ContentStore):
    """A database that is away for the first batch."""

    failures = 1

    def write(self, found: Sequence[Content]) -> None:
        if self.failures:
            self.failures -= 1
            raise LedgerUnavailable("away")
        super().write(found)


async def is_empty(rig: JetStreamRig) -> bool:
    return (await rig.connection.nats.jetstream().stream_info("CONTENT")).state.messages == 0


async def collected(rig: JetStreamRig, store: ContentStore) -> None:
    """Run a collector until there is nothing left on the stream."""
    collector = ContentCollector(
        JetStreamContents(rig.connection), store, keep_days=30, now=lambda: NOW, pause_seconds=0.0
    )
    running = asyncio.ensure_future(collector.run())
    await eventually(lambda: is_empty(rig))
    collector.drain()
    await running


async def test_contents_are_stored_and_the_broker_forgets_them(
    rig: JetStreamRig, store: ContentStore, reader: ContentReader
) -> None:
    await rig.queue.publish([content(number) for number in range(3)])
    await rig.inject("content.acme", b"no content")
    await collected(rig, store)
    assert {each.job_id for each in reader.list(None, None, 10, "sre")} == {f"job-{n:012d}" for n in range(3)}
    assert reader.show(store._vault, "acme", "job-000000000001", "sre") == content(1)


async def test_contents_wait_on_the_stream_while_the_database_is_away(
    rig: JetStreamRig, store: ContentStore, reader: ContentReader
) -> None:
    failing = FailingOnce(store._engine, store._vault)
    feed = JetStreamContents(rig.connection)
    await rig.queue.publish([content(1)])
    [taken] = await feed.take(10, 5.0)
    with pytest.raises(LedgerUnavailable):
        failing.write([taken])
    assert not await is_empty(rig)
    failing.write([taken])
    await feed.stored()
    await collected(rig, store)
    assert reader.show(store._vault, "acme", "job-000000000001", "sre") == content(1)
