"""A writer of the ledger on a broker in memory, and what fails around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ledger_lines import NOON, entry
from sqlalchemy import Engine

from fleet.ledger.reading import EndedFilter, LedgerReader
from fleet.ledger.store import AnotherWriter, LedgerStore, Position
from fleet.ledger.writer import LedgerWriter
from fleet.model.errors import LedgerUnavailable, LoginRefused, QueueUnavailable
from fleet.model.result import LedgerLine
from queues.jetstream.stores.ledger import MemoryLedger
from queues.memory import MemoryBroker, MemoryQueue

AT_ONCE = (0.0,)
"""Seconds until the next try."""


class FailingStore(LedgerStore):
    """A database that is away while `is_away`, and that was written to by another if `has_rival`."""

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
