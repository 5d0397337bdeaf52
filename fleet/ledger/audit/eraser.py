"""Erases a tenant or a person everywhere: on the broker, in the ledger and the archive of its days, in the contents, in
what was learned from them.

Every step can be repeated, and the whole is to be repeated after a crash: what is erased already is passed over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from sqlalchemy import Engine

from fleet.ledger.audit import erase as ledger
from fleet.ledger.audit.erase import ERASED, Answered, LineToErase, Subject
from fleet.ledger.audit.learned import NOTHING_LEARNED, ErasableKnowledge, Learned
from fleet.ledger.locks import LockName, held_async, lock_on
from fleet.ledger.reading import LedgerReader
from fleet.model.erasure import Erasure
from fleet.model.errors import ConfigError, FleetError

WRITER_SECONDS = 60.0
"""Seconds to wait for the ledger's writer to have written what lay in the stream."""

LOOK_SECONDS = 0.2


class ErasingBroker(Protocol):
    """The streams, from which messages can be erased. Every method raises QueueUnavailable."""

    async def last_line(self) -> int: ...

    async def erase_tenant(self, tenant: str) -> int: ...

    async def erase_jobs(self, jobs: Set[tuple[str, str]]) -> int: ...

    async def erase_tenants_lines(self, tenant: str, last: int) -> int: ...

    async def erase_lines(self, sequences: Iterable[int]) -> int: ...

    async def erase_jobs_lines(self, jobs: Set[tuple[str, str]]) -> int: ...

    async def record(self, erasure: Erasure, at: float) -> int: ...

    async def unfinished(self, tenant: str) -> int: ...

    def counting(self) -> ErasingBroker:
        """Return a broker that finds the same messages, and only counts them."""


class ErasableContents(Protocol):
    """The contents. Every method returns how many there are of a tenant or a person; None without a content store.

    Raises: LedgerUnavailable.
    """

    def count(self, tenant: str | None, person: str | None) -> int | None: ...

    def erase(self, tenant: str | None, person: str | None) -> int | None: ...


class NoContents:
    """Stands where there is no content store."""

    def count(self, tenant: str | None, person: str | None) -> None:
        return None

    def erase(self, tenant: str | None, person: str | None) -> None:
        return None


class NoKnowledge:
    """Stands where nothing is learned."""

    async def count(self, subject: Subject, lines: Sequence[LineToErase], answered: Sequence[Answered]) -> Learned:
        return NOTHING_LEARNED

    async def erase(self, subject: Subject, lines: Sequence[LineToErase], answered: Sequence[Answered]) -> Learned:
        return NOTHING_LEARNED


RewriteArchive = Callable[[str | None, str], None]
"""Writes the files of erased days again. With a tenant, whose new name comes second, also those without rows."""


@dataclass(frozen=True, slots=True)
class Erased:
    """The counts of erased rows of the ledger, messages of the broker and contents, or of what would be erased.

    `sums` of the ledger named the tenant; they outlive its rows. `contents` is None where there is no content store.
    `unfinished` jobs of the tenant still wait or run, and will leave results. `learned` is what was learned from the
    rows. `erasures` are the ids under which the rows are on record.
    """

    rows: int
    sums: int
    messages: int
    contents: int | None
    unfinished: int
    erasures: tuple[str, ...] = ()
    learned: Learned = NOTHING_LEARNED

    def is_nothing(self, subject: Subject) -> bool:
        """Return whether nothing at all is known of the subject, as where its name is misspelt.

        Of a person alone the jobs that still wait or run say nothing: they are the whole tenant's.
        """
        waiting = self.unfinished if subject.person is None else 0
        return not (self.rows or self.sums or self.messages or self.contents or self.learned.adapters or waiting)


class Eraser:
    """Erases with a connection to the broker, one to the ledger's database, and a way to the contents."""

    def __init__(
        self,
        broker: ErasingBroker,
        engine: Engine,
        contents: ErasableContents | None = None,
        knowledge: ErasableKnowledge | None = None,
        archive: RewriteArchive = lambda tenant, name: None,
        writer_seconds: float = WRITER_SECONDS,
    ) -> None:
        self._broker = broker
        self._engine = engine
        self._contents = contents or NoContents()
        self._knowledge = knowledge or NoKnowledge()
        self._archive = archive
        self._writer_seconds = writer_seconds

    async def erase(self, subject: Subject, on_progress: Callable[[str], None] = lambda step: None) -> Erased:
        """Erase everything about the subject that is there now.

        Raises: FleetError, also if the ledger's writer does not keep up; QueueUnavailable, LedgerUnavailable.
        """
        _check(subject)
        lock = lock_on(self._engine, LockName.ERASURE)
        async with held_async(
            lock, partial(on_progress, "waiting for `fleet ledger verify`, or another erasure, to end")
        ):
            return await self._erase(subject, on_progress)

    async def _erase(self, subject: Subject, on_progress: Callable[[str], None]) -> Erased:
        on_progress("waiting for the ledger's writer")
        last = await self._written(await self._broker.last_line())
        await self._record(await asyncio.to_thread(ledger.unrecorded, self._engine))
        lines = await asyncio.to_thread(ledger.lines_of, self._engine, subject)
        sums = await asyncio.to_thread(ledger.count_sums, self._engine, subject)
        on_progress("erasing what was learned")  # while the rows still say whose they are
        answered = await asyncio.to_thread(ledger.answered, self._engine, subject)
        learned = await self._knowledge.erase(subject, lines, answered)
        on_progress("erasing messages")
        messages = await self._erase_messages(self._broker, subject, lines)
        on_progress("erasing accounts")
        erasures = await asyncio.to_thread(ledger.erase, self._engine, subject)
        messages += await self._erase_lines(self._broker, subject, lines, last)
        # The store refuses from then on what its collector took off the stream before and has not stored yet.
        on_progress("erasing contents")
        contents = await asyncio.to_thread(self._contents.erase, subject.tenant, subject.person)
        on_progress("writing the archive again")
        await asyncio.to_thread(self._archive, *_renamed(subject, erasures))
        await self._record(erasures)
        rows, ids = sum(each.rows for each in erasures), tuple(each.id for each in erasures)
        return Erased(rows, sums, messages, contents, await self._unfinished(subject), ids, learned)

    async def count(self, subject: Subject) -> Erased:
        """Return what `erase` would erase now, by the ledger as it is: lines that its writer has not written yet count
        as messages alone. Nothing is erased, and no writer has to run.

        Raises: QueueUnavailable, LedgerUnavailable; ConfigError.
        """
        _check(subject)
        broker = self._broker.counting()
        lines = await asyncio.to_thread(ledger.lines_of, self._engine, subject)
        sums = await asyncio.to_thread(ledger.count_sums, self._engine, subject)
        messages = await self._erase_messages(broker, subject, lines)
        messages += await self._erase_lines(broker, subject, lines, await broker.last_line())
        contents = await asyncio.to_thread(self._contents.count, subject.tenant, subject.person)
        answered = await asyncio.to_thread(ledger.answered, self._engine, subject)
        learned = await self._knowledge.count(subject, lines, answered)
        return Erased(len(lines), sums, messages, contents, await self._unfinished(subject), learned=learned)

    async def _unfinished(self, subject: Subject) -> int:
        return 0 if subject.tenant is None else await self._broker.unfinished(subject.tenant)

    async def _erase_messages(self, broker: ErasingBroker, subject: Subject, lines: Sequence[LineToErase]) -> int:
        if subject.person is None:
            return await broker.erase_tenant(str(subject.tenant))
        return await broker.erase_jobs({(line.tenant, line.job_id) for line in lines})

    async def _erase_lines(
        self, broker: ErasingBroker, subject: Subject, lines: Sequence[LineToErase], last: int
    ) -> int:
        """Erase the lines in the stream as well: it would give them back to a ledger that is written again."""
        if subject.person is None:
            return await broker.erase_tenants_lines(str(subject.tenant), last)
        if (await asyncio.to_thread(LedgerReader(self._engine).state)).ahead:
            # The stream went back once, so rows have other numbers than their lines.
            return await broker.erase_jobs_lines({(line.tenant, line.job_id) for line in lines})
        return await broker.erase_lines([line.seq for line in lines])

    async def _record(self, erasures: Sequence[Erasure]) -> None:
        """Put erasures on record, and return once the ledger has the records."""
        for erasure in erasures:
            await self._written(await self._broker.record(erasure, time.time()))

    async def _written(self, line: int) -> int:
        """Return `line` once the ledger has it. Raises: FleetError if that takes too long."""
        give_up_at = time.monotonic() + self._writer_seconds
        while (written := (await asyncio.to_thread(LedgerReader(self._engine).state)).last_seq) < line:
            if time.monotonic() >= give_up_at:
                raise FleetError(
                    f"the ledger has lines up to {written}, and the stream up to {line}: "
                    "is `fleet ledger run` running? Start it, and erase again"
                )
            await asyncio.sleep(LOOK_SECONDS)
        return line


def _check(subject: Subject) -> None:
    if (subject.tenant or "").startswith(ERASED):
        raise ConfigError("tenant", f"{subject.tenant} is erased already")


def _renamed(subject: Subject, erasures: Sequence[Erasure]) -> tuple[str | None, str]:
    """Return the tenant that the archive must not name any more, if there is one, and the name in its place."""
    name = erasures[0].id if erasures else ledger.new_id()
    return (subject.tenant if subject.person is None else None), name
