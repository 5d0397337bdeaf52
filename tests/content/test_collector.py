"""Contents go from a real broker into the store, once, whatever fails on the way, and the broker forgets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from counted_jobs import series
from patience import eventually
from queue_rigs import JetStreamRig, jetstream_rig
from structlog.testing import capture_logs

from fleet.cli.books.content import collector_metrics
from fleet.content import collector as collecting
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


class MemoryFeed:
    """Hands out batches; an error in place of one is raised, and the batch before comes again."""

    def __init__(self, *batches: Sequence[Content] | Exception) -> None:
        self.left = list(batches)

    async def take(self, limit: int, wait_seconds: float) -> Sequence[Content]:
        await asyncio.sleep(0)
        found = self.left.pop(0) if self.left else ()
        if isinstance(found, Exception):
            raise found
        return found

    async def stored(self) -> None: ...

    async def close(self) -> None: ...


async def test_it_says_that_it_collects_what_it_stored_and_since_when_contents_wait(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "BATCH", 2)
    seen: list[float | None] = []

    class Watched(ContentStore):
        def write(self, found: Sequence[Content]) -> None:
            seen.append(collector.progress.waiting_since)
            super().write(found)

    old, older = (replace(content(number), at=NOW - seconds) for number, seconds in ((1, 60.0), (2, 90.0)))
    feed = MemoryFeed(LedgerUnavailable("away"), [older, old], [content(3)])
    collector = ContentCollector(feed, Watched(store._engine, store._vault), 30, lambda: NOW, pause_seconds=0.0)
    with capture_logs() as logs:
        running = asyncio.ensure_future(collector.run())
        await eventually(lambda: collector.progress.stored == 3)
        collector.drain()
        await running
    assert [each["event"] for each in logs] == ["content_collecting", "content_not_stored", "content_collecting"]
    # Not known before the first take; then as old as the last of a full batch, behind which more wait.
    assert seen == [NOW, NOW - 60.0]
    assert series(list(collector_metrics(collector.progress, NOW))) == {
        ("fleet.content_lag_seconds", ()): 0.0,
        ("fleet.contents_stored", ()): 3,
        ("fleet.content_errors", ()): 1,
    }
