"""One writer writes at a time: a second one stands by, and goes on when the first has ended."""

from __future__ import annotations

import asyncio

import pytest
import structlog
from ledger_lines import NOON, job_id
from ledger_writers import FailingStore, publish, running, writer_on, written
from patience import eventually
from sqlalchemy import Engine

from fleet.ledger import writer as writing
from fleet.ledger.store import AnotherWriter, LedgerStore
from queues.memory import MemoryBroker


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
