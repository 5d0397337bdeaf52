"""The writer goes on whatever fails: the stream keeps what is not written yet, and the database says where to start."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from ledger_lines import NOON, entry, job_id
from patience import PATIENCE_SECONDS, eventually
from sqlalchemy import Engine

from fleet.ledger import writer as writing
from fleet.ledger.archive import DamagedArchive, archive_closed_days
from fleet.ledger.database import database_url, engine_for
from fleet.ledger.reading import EndedFilter, LedgerReader
from fleet.ledger.store import AnotherWriter, LedgerStore, Position
from fleet.ledger.writer import LedgerWriter
from fleet.model.errors import LedgerUnavailable, LoginRefused, QueueUnavailable
from fleet.model.result import LedgerLine, LedgerStream
from queues.jetstream.stores.ledger import MemoryLedger
from queues.memory import MemoryBroker, MemoryQueue

AT_ONCE = (0.0,)
"""Seconds until the next try."""


class FailingStore(LedgerStore):
    """A database that is away while `is_away`, and that was written to by another while `rival` is set."""

    is_away = False
    has_rival = False
    is_beaten = False

    def claim(self) -> bool:
        return not self.is_beaten and super().claim()

    def open(self) -> Position:
        self._fail()
        return super().open()

    def write(self, lines: Sequence[LedgerLine]) -> int:
        self._fail()
        return super().write(lines)

    def _fail(self) -> None:
        if self.is_away:
            raise LedgerUnavailable("the database is away")
        if self.has_rival:
            raise AnotherWriter("another process writes to this database")


class FailingFeed(MemoryLedger):
    """A feed that loses its connection at every second call of `take`."""

    takes = 0
    is_refused = False

    async def take(self, limit: int, wait_seconds: float) -> Sequence[LedgerLine]:
        self.takes += 1
        if self.is_refused:
            raise LoginRefused("the login was changed")
        if self.takes % 2 == 0:
            raise QueueUnavailable("the connection broke")
        return await super().take(limit, wait_seconds)


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker(now=lambda: NOON)


@pytest.fixture
def file_engine(tmp_path: Path) -> Engine:
    return engine_for(database_url(f"sqlite:///{tmp_path / 'ledger.sqlite3'}"))


@pytest.fixture
def store(file_engine: Engine) -> FailingStore:
    return FailingStore(file_engine, lambda: NOON)


def writer_on(broker: MemoryBroker, store: LedgerStore, keep_days: int | None = None) -> LedgerWriter:
    return LedgerWriter(MemoryLedger(broker), store, keep_days, lambda: NOON, AT_ONCE, gather_seconds=0.0)


async def publish(broker: MemoryBroker, numbers: range) -> None:
    await MemoryQueue(broker).publish([entry(number) for number in numbers])


@asynccontextmanager
async def running(writer: LedgerWriter) -> AsyncIterator[LedgerWriter]:
    task = asyncio.create_task(writer.run())
    yield writer
    writer.drain()
    await task


def written(engine: Engine) -> list[str]:
    return sorted(each.job_id for each in LedgerReader(engine).ended(EndedFilter(), limit=100_000))


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


async def test_a_second_writer_ends_instead_of_taking_turns(broker: MemoryBroker, store: FailingStore) -> None:
    store.has_rival = True
    with pytest.raises(AnotherWriter):
        await writer_on(broker, store).run()


async def test_a_second_writer_stands_by_and_goes_on_where_the_first_one_ended(
    broker: MemoryBroker, store: FailingStore, file_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "STANDBY_SECONDS", 0.0)
    second = writer_on(broker, LedgerStore(file_engine, lambda: NOON))
    with structlog.testing.capture_logs() as logs:
        async with running(writer_on(broker, store)) as first:
            await publish(broker, range(10))
            await eventually(lambda: first.progress.lines == 10)
            standing_by = asyncio.create_task(second.run())
            await eventually(lambda: second.progress.is_standby)
            assert "ledger_not_written" not in [each["event"] for each in logs]
        await publish(broker, range(10, 20))
        await eventually(lambda: second.progress.lines == 10)
    assert not second.progress.is_standby
    second.drain()
    await standing_by
    assert [each["event"] for each in logs].count("ledger_standby") == 1
    assert written(file_engine) == [job_id(number) for number in range(20)]


async def test_a_writer_that_stands_by_ends_when_it_is_told_to(
    broker: MemoryBroker, store: FailingStore, file_engine: Engine
) -> None:
    second = writer_on(broker, LedgerStore(file_engine, lambda: NOON))
    async with running(writer_on(broker, store)) as first:
        await eventually(lambda: first.progress.waiting_since is None)
        async with running(second):
            await eventually(lambda: second.progress.is_standby)
    assert second.progress.lines == 0


async def test_a_writer_whose_lock_was_lost_stands_by(
    broker: MemoryBroker, store: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "LOOK_SECONDS", 0.0)
    async with running(writer_on(broker, store)) as writer:
        await eventually(lambda: writer.progress.waiting_since is None)
        store.is_beaten = True
        await eventually(lambda: writer.progress.is_standby)
        await publish(broker, range(3))
        store.is_beaten = False
        await eventually(lambda: writer.progress.lines == 3)


async def test_a_ledger_is_not_written_again_while_a_writer_runs(
    broker: MemoryBroker, store: FailingStore, file_engine: Engine
) -> None:
    async with running(writer_on(broker, store)) as writer:
        await publish(broker, range(3))
        await eventually(lambda: writer.progress.lines == 3)
        with pytest.raises(AnotherWriter, match="stop its `fleet ledger run` first"):
            await writer_on(broker, LedgerStore(file_engine, lambda: NOON)).catch_up()


async def test_a_login_that_is_refused_ends_the_process(broker: MemoryBroker, store: FailingStore) -> None:
    feed = FailingFeed(broker)
    feed.is_refused = True
    with pytest.raises(LoginRefused):
        await LedgerWriter(feed, store, None, lambda: NOON, AT_ONCE).run()


async def test_old_rows_are_deleted_while_it_writes(broker: MemoryBroker, file_engine: Engine) -> None:
    clock = [NOON]
    store = LedgerStore(file_engine, lambda: clock[0])
    aged = MemoryBroker(now=lambda: clock[0])
    await publish(aged, range(5))
    async with running(LedgerWriter(MemoryLedger(aged), store, 30, lambda: clock[0], AT_ONCE, 0.0)):
        pass
    clock[0] += 31 * 86_400.0
    await publish(aged, range(5, 8))
    async with running(LedgerWriter(MemoryLedger(aged), store, 30, lambda: clock[0], AT_ONCE, 0.0)):
        await eventually(lambda: written(file_engine) == [job_id(number) for number in range(5, 8)])


async def test_a_clock_that_jumps_ahead_deletes_nothing_that_is_young(
    broker: MemoryBroker, file_engine: Engine
) -> None:
    store = LedgerStore(file_engine, lambda: NOON)
    await publish(broker, range(5))
    years_ahead = NOON + 3_000 * 86_400.0
    async with running(LedgerWriter(MemoryLedger(broker), store, 30, lambda: years_ahead, AT_ONCE, 0.0)) as writer:
        await eventually(lambda: writer.progress.lines == 5)
    async with running(LedgerWriter(MemoryLedger(broker), store, 30, lambda: years_ahead, AT_ONCE, 0.0)):
        pass
    assert written(file_engine) == [job_id(number) for number in range(5)]


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


async def test_missed_lines_are_logged_and_counted_for_as_long_as_the_database_lives(
    broker: MemoryBroker, store: FailingStore
) -> None:
    class Shortened(MemoryLedger):
        async def stream(self) -> LedgerStream:
            return replace(await super().stream(), first_sequence=13)

    await publish(broker, range(10))
    async with running(writer_on(broker, store)) as writer:
        assert writer.progress.missed_lines in (None, 0)
    assert writer.progress.missed_lines == 0
    await publish(broker, range(10, 20))
    with structlog.testing.capture_logs() as logs:
        async with running(LedgerWriter(Shortened(broker), store, None, lambda: NOON, AT_ONCE, 0.0)):
            pass
    assert {"event": "ledger_lines_missed", "log_level": "error", "lines": 2} in logs
    async with running(writer_on(broker, store)) as later:
        pass
    assert later.progress.missed_lines == 2


TROUBLES = (OSError(28, "No space left on device"), DamagedArchive("a row was changed"), LedgerUnavailable("away"))


@pytest.mark.parametrize("trouble", [None, *TROUBLES])
async def test_a_closed_day_is_archived_before_its_rows_are_deleted_and_trouble_keeps_them(
    file_engine: Engine, tmp_path: Path, trouble: Exception | None
) -> None:
    def archive() -> list[str]:
        if trouble is not None:
            raise trouble
        return archive_closed_days(file_engine, tmp_path / "archive")

    clock = [NOON]
    store = LedgerStore(file_engine, lambda: clock[0])
    aged = MemoryBroker(now=lambda: clock[0])
    await publish(aged, range(5))
    clock[0] += 31 * 86_400.0
    await publish(aged, range(5, 8))
    with structlog.testing.capture_logs() as logs:
        async with running(LedgerWriter(MemoryLedger(aged), store, 30, lambda: clock[0], AT_ONCE, 0.0, archive)):
            told = "ledger_not_archived" if trouble else "ledger_rows_deleted"
            await eventually(lambda: told in [each["event"] for each in logs])
    assert len(written(file_engine)) == (8 if trouble else 3)
    assert (LedgerReader(file_engine).days()[0].parquet is None) == bool(trouble)


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


def cut(broker: MemoryBroker, kept: int) -> None:
    """A power cut at the broker takes the end of its stream, which was not on its disk yet."""
    del broker._records["ledger"][kept:]


@pytest.mark.parametrize("more", [range(20, 21), range(20, 25)], ids=["shorter than it was", "longer than it was"])
async def test_a_stream_that_lost_its_end_costs_no_line_that_came_since(
    broker: MemoryBroker, store: FailingStore, file_engine: Engine, more: range
) -> None:
    await publish(broker, range(10))
    async with running(writer_on(broker, store)):
        pass
    cut(broker, 7)
    await publish(broker, more)

    with structlog.testing.capture_logs() as logged:
        async with running(writer_on(broker, store)):
            pass
        async with running(writer_on(broker, store)):
            pass

    assert written(file_engine) == [job_id(number) for number in (*range(10), *more)]
    [sums] = LedgerReader(file_engine).attempt_sums((), "", "9")
    assert sums.jobs == 10 + len(more)
    told = [line for line in logged if line["event"] == "ledger_stream_went_back"]
    assert told == [{"event": "ledger_stream_went_back", "log_level": "error", "line": 10, "again_from": 1}]


async def test_a_writer_that_waits_for_lines_behind_a_cut_ends_when_it_is_told_to(
    broker: MemoryBroker, store: FailingStore, file_engine: Engine
) -> None:
    await publish(broker, range(3))
    async with running(writer_on(broker, store)):
        pass
    cut(broker, 0)
    async with running(writer_on(broker, store)):
        pass
    await publish(broker, range(3, 6))
    async with running(writer_on(broker, store)):
        pass
    assert written(file_engine) == [job_id(number) for number in range(6)]


async def test_a_stream_that_goes_on_with_the_very_number_it_lost_costs_no_line(
    store: FailingStore, file_engine: Engine
) -> None:
    now = [NOON - 86_400.0]
    broker = MemoryBroker(now=lambda: now[0])
    await publish(broker, range(2))
    now[0] = NOON
    await publish(broker, range(2, 3))
    async with running(writer_on(broker, store)):
        pass
    cut(broker, 2)
    async with running(writer_on(broker, store)):
        await publish(broker, range(3, 4))
    async with running(writer_on(broker, store)):
        pass
    assert written(file_engine) == [job_id(number) for number in range(4)]


async def test_a_line_that_was_deleted_from_the_stream_is_not_looked_for(
    broker: MemoryBroker, store: FailingStore, file_engine: Engine
) -> None:
    """An erasure deletes lines of the stream, and the last one written may be among them."""
    await publish(broker, range(3))
    async with running(writer_on(broker, store)):
        pass
    await publish(broker, range(3, 5))

    class Erased(MemoryLedger):
        async def take(self, limit: int, wait_seconds: float) -> Sequence[LedgerLine]:
            return [line for line in await super().take(limit + 1, wait_seconds) if line.sequence != 3]

    async with running(LedgerWriter(Erased(broker), store, None, lambda: NOON, AT_ONCE, gather_seconds=0.0)):
        pass
    assert written(file_engine) == [job_id(number) for number in range(5)]
