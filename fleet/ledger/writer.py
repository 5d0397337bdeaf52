"""The one process that writes the ledger down: takes lines, writes them, and only then acknowledges them.

It keeps nothing of its own. Whatever fails, it asks the database how far it is and starts there; meanwhile the stream
keeps the lines. So a crash at any moment repeats a step, and what is repeated changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fleet.ledger.store import AnotherWriter, LedgerStore, Position, first_day_kept
from fleet.logs import get_logger
from fleet.model.errors import FleetError, LedgerUnavailable, LoginRefused, QueueUnavailable
from fleet.model.result import LedgerLine, LedgerStream
from fleet.ports import LedgerFeed

BATCH_LINES = 1_000
"""Maximum lines of one transaction."""

WAIT_SECONDS = 1.0
"""Seconds to wait for a line; so long it takes to notice that the process should end."""

GATHER_SECONDS = 0.2
"""Seconds in which lines gather when few come: each transaction waits for the disk."""

PAUSE_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds until the next try after a failure, after the second, and so on; the last one stays."""

AGAIN_SECONDS = 10_800.0
"""Seconds of lines that are read again where the broker lost the end of the stream: far more than a power cut takes,
and than its clock may be ahead (see `rows.AHEAD_SECONDS`).
"""

LOOK_SECONDS = 5.0
"""Seconds between two looks at how many lines wait, and whether we still are the one writer."""

STANDBY_SECONDS = 1.0
"""Seconds between two tries to become the writer while another process is."""

TIDY_SECONDS = 3_600.0
"""Seconds between two looks for rows that are too old."""

STEP_SECONDS = 300.0
"""Seconds until a step of the database counts as failed: a server that is frozen never says so."""

Value = TypeVar("Value")

log = get_logger(__name__)


@dataclass(slots=True)
class LedgerProgress:
    """The lines that the writer has written since it started, and those that are left: the numbers of its metrics.

    `waiting_since` is the unix time since when lines wait; None while it is caught up. `is_standby` while another
    process writes: then these numbers say nothing of the lines. `missed_lines` are those that the stream lost before
    they were written, ever, as the database says; None until it has said so.
    """

    lines: int = 0
    errors: int = 0
    waiting_lines: int = 0
    waiting_since: float | None = None
    is_standby: bool = False
    missed_lines: int | None = None

    def unknown(self, now: float) -> None:
        """Note that nobody can say whether lines wait: until somebody can, they do."""
        self.waiting_since = self.waiting_since or now

    def waits(self, lines: int, since: float) -> None:
        """Note how many lines wait now."""
        self.waiting_lines = lines
        self.waiting_since = (self.waiting_since or since) if lines else None


class LedgerWriter:
    """Writes lines until drained, once no other process does. `now` gives unix seconds; without `keep_days` rows stay
    for ever.

    `archive` writes the closed days to files and returns them; no row is deleted after it failed.
    """

    def __init__(
        self,
        feed: LedgerFeed,
        store: LedgerStore,
        keep_days: int | None = None,
        now: Callable[[], float] = time.time,
        pause_seconds: Sequence[float] = PAUSE_SECONDS,
        gather_seconds: float = GATHER_SECONDS,
        archive: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        self.progress = LedgerProgress()
        self._feed = feed
        self._store = store
        self._keep_days = keep_days
        self._now = now
        self._pause_seconds = pause_seconds
        self._gather_seconds = gather_seconds
        self._archive = archive
        self._draining = asyncio.Event()
        self._failures = 0
        self._looked_at = self._tidied_at = -TIDY_SECONDS

    def drain(self) -> None:
        """Have `run` end once everything that is there is written, or at the next failure."""
        self._draining.set()

    async def run(self) -> None:
        """Write until drained; what fails is tried again for as long as it takes.

        Raises: LoginRefused, AnotherWriter.
        """
        try:
            await self._run()
        finally:
            await asyncio.to_thread(self._store.release)

    async def _run(self) -> None:
        while True:
            try:
                if await self._is_our_turn():
                    await self._write_everything()
                return
            except (LoginRefused, AnotherWriter):
                raise
            except (QueueUnavailable, LedgerUnavailable) as error:
                await self._failed(error)
            if self._draining.is_set():
                return
            await self._pause()

    async def _failed(self, error: Exception) -> None:
        self._failures += 1
        self.progress.errors += 1
        try:
            waiting = (await self._feed.stream()).waiting
            self.progress.waits(waiting, self._now())
        except QueueUnavailable:
            self.progress.unknown(self._now())  # as many as before, or more
        log.error("ledger_not_written", error=str(error), waiting_lines=self.progress.waiting_lines)

    async def _pause(self) -> None:
        """Wait before the next try; less if the process should end."""
        await self._drained_within(self._pause_seconds[min(self._failures, len(self._pause_seconds)) - 1])

    async def _drained_within(self, seconds: float) -> bool:
        """Wait; return whether the process should end."""
        try:
            return await asyncio.wait_for(self._draining.wait(), seconds)
        except TimeoutError:
            return False

    async def claim(self) -> None:
        """Be the one writer at once. Raises: AnotherWriter, LedgerUnavailable."""
        if not await self._in_database(self._store.claim):
            raise AnotherWriter("another process writes to this database: stop its `fleet ledger run` first")

    async def catch_up(self) -> None:
        """Write what is there, and end. Raises: AnotherWriter, QueueUnavailable, LedgerUnavailable."""
        self.drain()
        try:
            await self.claim()
            await self._write_everything()
        finally:
            await asyncio.to_thread(self._store.release)

    async def _is_our_turn(self) -> bool:
        """Wait until no other process writes. Return False if the process should end before."""
        while not await self._in_database(self._store.claim):
            if not self.progress.is_standby:
                self.progress.is_standby = True
                log.info("ledger_standby")
            if await self._drained_within(STANDBY_SECONDS):
                return False
        self.progress.is_standby = False
        return True

    async def _write_everything(self) -> None:
        self.progress.unknown(self._now())
        position = await asyncio.to_thread(self._store.open)
        stream = await self._begin(position)
        log.info("ledger_writing", after=position.last_sequence, waiting_lines=stream.waiting)
        self.progress.waits(stream.waiting, self._now())
        is_checked = False
        while True:
            lines = await self._feed.take(BATCH_LINES, 0.0 if self._draining.is_set() else WAIT_SECONDS)
            if not lines and self._draining.is_set():
                return
            if lines and not is_checked:
                lines, is_checked = await self._unwritten(lines, position), True
            if lines:
                await self._write(lines)
            await self._look(is_caught_up=not lines)
            await self._tidy()

    async def _begin(self, position: Position) -> LedgerStream:
        """Start with the last line written, which tells whether the stream still is what it was; if not, see there."""
        stream = await self._feed.begin(position.last_sequence - bool(position.last_mark))
        missed = await self._in_database(self._store.follow, stream)
        self.progress.missed_lines = self._store.position.missed
        if missed:
            log.error("ledger_lines_missed", lines=missed)
        if stream.last_sequence < position.last_sequence and position.last_mark:
            return await self._begin_again(position)
        return stream

    async def _unwritten(self, lines: Sequence[LedgerLine], position: Position) -> Sequence[LedgerLine]:
        """Return the first lines without the last one written; none where the stream has another in its place."""
        if lines[0].sequence != self._store.position.last_sequence:  # it was deleted from the stream, or is not known
            return lines
        if not self._store.has(lines[0]):
            await self._begin_again(position)
            return ()
        if len(lines) == 1:
            await self._feed.written(lines[0].sequence)
        return lines[1:]

    async def _begin_again(self, position: Position) -> LedgerStream:
        """Start before the cut of a stream that lost its end: lines that are written already are recognised."""
        await self._feed.begin(0, position.last_at - AGAIN_SECONDS)
        while not (lines := await self._feed.take(1, WAIT_SECONDS)):
            if self._draining.is_set():
                raise QueueUnavailable("the stream has gone back, and no line has come since")
        await self._in_database(self._store.rewind, lines[0].sequence)
        log.error("ledger_stream_went_back", line=position.last_sequence, again_from=lines[0].sequence)
        return await self._feed.begin(lines[0].sequence - 1)

    async def _write(self, lines: Sequence[LedgerLine]) -> None:
        self.progress.waits(max(self.progress.waiting_lines, len(lines)), lines[0].stored_at)
        await self._in_database(self._store.write, lines)
        self._failures = 0
        self.progress.lines += len(lines)
        self.progress.waits(max(0, self.progress.waiting_lines - len(lines)), lines[-1].stored_at)
        await self._feed.written(lines[-1].sequence)
        if len(lines) < BATCH_LINES and not self._draining.is_set():
            await asyncio.sleep(self._gather_seconds)

    async def _in_database(self, step: Callable[..., Value], *arguments: Any) -> Value:
        """Return what a step in the database returns.

        The next step takes another connection. If the late one is carried out after all, the database lets only one of
        the two move on.

        Raises: LedgerUnavailable, also if it takes too long.
        """
        try:
            async with asyncio.timeout(STEP_SECONDS):
                return await asyncio.to_thread(step, *arguments)
        except TimeoutError as error:
            raise LedgerUnavailable(f"the database has not answered for {STEP_SECONDS:g} s") from error

    async def _look(self, is_caught_up: bool) -> None:
        """Bring the number of waiting lines up to date, now and then if there are any, and see that we may write."""
        now = time.monotonic()
        is_time = now - self._looked_at >= LOOK_SECONDS
        if is_time:
            self._looked_at = now
            if not await self._in_database(self._store.claim):
                raise LedgerUnavailable("another process has become the writer")
        if is_caught_up:
            self.progress.waits(0, 0.0)
        elif is_time:
            self.progress.waits((await self._feed.stream()).waiting, self._now())

    async def _tidy(self) -> None:
        """Archive the days that are closed and delete some rows that are too old, if it is time to look for them."""
        now = time.monotonic()
        if now - self._tidied_at < TIDY_SECONDS:
            return
        if not (await self._archived() and await self._deleted()):
            self._tidied_at = now

    async def _archived(self) -> bool:
        """Archive the days that are closed. Return False if that failed."""
        try:
            days = [] if self._archive is None else await asyncio.to_thread(self._archive)
        except (OSError, FleetError) as error:
            log.error("ledger_not_archived", error=str(error))
            return False
        for day in days:
            log.info("ledger_day_archived", day=day)
        return True

    async def _deleted(self) -> bool:
        """Delete some rows that are too old. Return False if there are none."""
        if self._keep_days is None:
            return False
        # By the last line's time at most: a clock that jumps ahead must not delete what is young.
        now = min(self._now(), self._store.position.last_at)
        deleted = await self._in_database(self._store.forget, first_day_kept(now, self._keep_days))
        if deleted:
            log.info("ledger_rows_deleted", rows=deleted)
        return deleted > 0
