"""What the writer does about lines that the stream has lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import structlog
from ledger_lines import NOON, job_id
from ledger_writers import AT_ONCE, FailingStore, publish, running, writer_on, written
from sqlalchemy import Engine

from fleet.ledger.reading import LedgerReader
from fleet.ledger.writer import LedgerWriter
from fleet.model.result import LedgerLine, LedgerStream
from queues.jetstream.stores.ledger import MemoryLedger
from queues.memory import MemoryBroker


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
