"""The writer goes on whatever fails: the stream keeps what is not written yet, and the database says where to start."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from copy import copy

import pytest
import structlog
from ledger_lines import NOON, job_id
from ledger_writers import AT_ONCE, FailingFeed, FailingStore, publish, running, writer_on, written
from patience import PATIENCE_SECONDS, eventually
from sqlalchemy import Engine

from fleet.ledger import writer as writing
from fleet.ledger.store import LedgerStore
from fleet.ledger.writer import LedgerWriter
from fleet.model.errors import LoginRefused, QueueUnavailable
from fleet.model.result import LedgerLine, LedgerStream
from queues.jetstream.stores.ledger import MemoryLedger
from queues.memory import MemoryBroker


async def test_everything_is_written_before_the_writer_ends(
    broker: MemoryBroker, store: FailingStore, file_engine: Engine
) -> None:
    await publish(broker, range(2500))
    async with running(writer_on(broker, store)) as writer:
        pass
    assert written(file_engine) == [job_id(number) for number in range(2500)]
    assert (writer.progress.lines, writer.progress.waiting_lines, writer.progress.waiting_since) == (2500, 0, None)


async def test_lines_that_come_while_the_database_is_away_are_written_when_it_is_back(
    broker: MemoryBroker, store: FailingStore, file_engine: Engine
) -> None:
    await publish(broker, range(10))
    async with running(writer_on(broker, store)) as writer:
        await eventually(lambda: writer.progress.lines == 10)
        store.is_away = True
        await publish(broker, range(10, 30))
        with structlog.testing.capture_logs() as logs:
            await eventually(lambda: writer.progress.errors >= 3)
        assert (writer.progress.waiting_lines, writer.progress.waiting_since) == (20, NOON)
        assert {(each["event"], each["error"]) for each in logs} == {("ledger_not_written", "the database is away")}
        store.is_away = False
        await eventually(lambda: writer.progress.lines == 30)
    assert written(file_engine) == [job_id(number) for number in range(30)]


async def test_a_database_that_is_away_at_the_start_is_waited_for(
    broker: MemoryBroker, store: FailingStore, file_engine: Engine
) -> None:
    store.is_away = True
    await publish(broker, range(10))
    async with running(writer_on(broker, store)) as writer:
        await eventually(lambda: writer.progress.errors >= 2)
        store.is_away = False
        await eventually(lambda: writer.progress.lines == 10)


async def test_a_connection_that_breaks_again_and_again_costs_no_line(
    broker: MemoryBroker, store: FailingStore, file_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "BATCH_LINES", 7)
    await publish(broker, range(100))
    writer = LedgerWriter(FailingFeed(broker), store, None, lambda: NOON, AT_ONCE, gather_seconds=0.0)
    task = asyncio.create_task(writer.run())
    await eventually(lambda: writer.progress.lines == 100)
    writer.drain()
    await task
    assert written(file_engine) == [job_id(number) for number in range(100)]


async def test_a_writer_that_is_told_to_end_does_not_wait_for_the_database(
    broker: MemoryBroker, store: FailingStore
) -> None:
    store.is_away = True
    writer = LedgerWriter(MemoryLedger(broker), store, None, lambda: NOON, (3600.0,))
    task = asyncio.create_task(writer.run())
    await eventually(lambda: writer.progress.errors)
    writer.drain()
    await task


async def test_a_login_that_is_refused_ends_the_process(broker: MemoryBroker, store: FailingStore) -> None:
    feed = FailingFeed(broker)
    feed.is_refused = True
    with pytest.raises(LoginRefused):
        await LedgerWriter(feed, store, None, lambda: NOON, AT_ONCE).run()


async def test_a_writer_that_cannot_ask_its_stream_counts_as_behind(broker: MemoryBroker, store: FailingStore) -> None:
    class CutOff(MemoryLedger):
        is_cut_off = False

        async def take(self, limit: int, wait_seconds: float) -> Sequence[LedgerLine]:
            self.check()
            return await super().take(limit, wait_seconds)

        async def stream(self) -> LedgerStream:
            self.check()
            return await super().stream()

        def check(self) -> None:
            if self.is_cut_off:
                raise QueueUnavailable("no way to the broker")

    feed = CutOff(broker)
    async with running(LedgerWriter(feed, store, None, lambda: NOON, AT_ONCE, gather_seconds=0.0)) as writer:
        await eventually(lambda: writer.progress.waiting_since is None)
        feed.is_cut_off = True
        await eventually(lambda: writer.progress.errors >= 2)
        assert writer.progress.waiting_since == NOON
        feed.is_cut_off = False
        await eventually(lambda: writer.progress.waiting_since is None)


async def test_a_database_that_hangs_is_left_and_what_it_does_later_changes_nothing(
    broker: MemoryBroker, file_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    thawed = threading.Event()

    class FrozenStore(LedgerStore):
        def write(self, lines: Sequence[LedgerLine]) -> int:
            asked = copy(self)  # what is carried out late is what was asked for then
            if thawed.is_set():
                return super().write(lines)
            thawed.wait()
            return LedgerStore.write(asked, lines)

    monkeypatch.setattr(writing, "STEP_SECONDS", 0.05)
    await publish(broker, range(10))
    writer = writer_on(broker, FrozenStore(file_engine, lambda: NOON))
    task = asyncio.create_task(writer.run())
    await eventually(lambda: writer.progress.errors)
    monkeypatch.setattr(writing, "STEP_SECONDS", PATIENCE_SECONDS)
    thawed.set()
    await eventually(lambda: len(written(file_engine)) == 10)
    writer.drain()
    await asyncio.gather(task, return_exceptions=True)  # it may be told that another has written: itself, late
    assert written(file_engine) == [job_id(number) for number in range(10)]
