"""Old rows are deleted while the writer runs, and no others; closed days are archived first."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog
from ledger_lines import NOON, job_id
from ledger_writers import AT_ONCE, publish, running, written
from patience import eventually
from sqlalchemy import Engine

from fleet.ledger.archive import DamagedArchive, archive_closed_days
from fleet.ledger.reading import LedgerReader
from fleet.ledger.store import LedgerStore
from fleet.ledger.writer import LedgerWriter
from fleet.model.errors import LedgerUnavailable
from queues.jetstream.stores.ledger import MemoryLedger
from queues.memory import MemoryBroker


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
