"""Copies what came of rows into the files of their batch, in segments, and counts them in the same moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fleet import faults
from fleet.batches.done import DoneRows
from fleet.batches.entry import Entry, outlasting
from fleet.bulk.outcomes import encoded
from fleet.model.attempt import Usage
from fleet.model.batch import NO_USAGE, Batch, Place, Purpose, RowCount, Segment, errors_id, output_id
from fleet.model.money import NanoUsd
from fleet.model.result import Result
from fleet.ports import FileStore

SEGMENT_ROWS = 1_000
SEGMENT_BYTES = 4 * 1024 * 1024
SEGMENT_SECONDS = 5.0
"""Maximum rows, bytes and age of a segment."""

SLOWER_BY_SEGMENTS = 1_000
"""Segments after which the next ones may take that much longer, so that a batch of days does not have too many."""


@dataclass(slots=True)
class _Written:
    """Collects what is to be copied: the lines of both files, and what they add to the counts."""

    rows: list[int] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)
    bytes: int = 0
    outcomes: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    usage: Usage = NO_USAGE
    cost_nano_usd: NanoUsd = 0


class BatchWriter:
    """The files of a batch and its counts. `monotonic` gives seconds."""

    def __init__(self, entry: Entry, files: FileStore, monotonic: Callable[[], float]) -> None:
        """Raises: ValueError if the entry's progress cannot be read."""
        batch = entry.batch
        self.done = DoneRows.of(batch.progress)
        self.cost_nano_usd = batch.cost_nano_usd
        """The cost of all rows whose result has come, copied or not."""
        self._entry = entry
        self._files = files
        self._monotonic = monotonic
        self._places = [batch.progress.place]
        self._held = _Written()
        self._began_at = 0.0
        self._room = asyncio.Event()
        self._room.set()
        self._due = asyncio.Event()
        self._copying = asyncio.Lock()

    async def add(self, row: int, line: Mapping[str, Any], result: Result | None = None) -> None:
        """Have the line of a row that is done copied; wait while too much is still to be copied."""
        await self._room.wait()
        held, body = self._held, encoded(line)
        if not held.rows:
            self._began_at = self._monotonic()
        held.rows.append(row)
        held.bytes += len(body)
        (held.errors if line["error"] is not None else held.answers).append(body)
        held.outcomes[_outcome(line, result)] += 1
        if result is not None:
            cost = round(result.cost_usd * 1e9)
            held.cost_nano_usd += cost
            self.cost_nano_usd += cost
            held.usage += result.answer.usage if result.answer else NO_USAGE
        if len(held.rows) >= SEGMENT_ROWS or held.bytes >= SEGMENT_BYTES:
            self._due.set()
        if len(held.rows) >= 2 * SEGMENT_ROWS or held.bytes >= 2 * SEGMENT_BYTES:
            self._room.clear()

    def hurry(self) -> None:
        """Have what is held copied now."""
        self._due.set()

    def reached(self, place: Place) -> None:
        """Note that reading can go on at this place once all rows before it are done."""
        self._places.append(place)

    async def copy_when_due(self, tick_seconds: float) -> None:
        """Return after a tick, or sooner if enough is held; what is due by then has been copied."""
        try:
            async with asyncio.timeout(tick_seconds):
                await self._due.wait()
        except TimeoutError:
            seconds = SEGMENT_SECONDS * (1 + len(self._entry.batch.output) // SLOWER_BY_SEGMENTS)
            if not self._held.rows or self._monotonic() - self._began_at < seconds:
                return
        await self.copy()

    async def copy(self) -> None:
        """Copy all that is held. Outages are waited out. Raises: LeaseLost, LoginRefused."""
        async with self._copying:
            held, self._held = self._held, _Written()
            self._due.clear()
            self._room.set()
            if not held.rows:
                return
            batch = self._entry.batch
            output = await self._segment(held.answers, output_id(batch.id), "output", is_first=not batch.output)
            errors = await self._segment(held.errors, errors_id(batch.id), "error", is_first=not batch.errors)
            faults.point("batch.copied")
            for row in held.rows:
                self.done.add(row)
            while len(self._places) > 1 and self._places[1].row <= self.done.below:
                del self._places[0]
            # As they shall be, and not as they change: to save this again changes nothing.
            told = replace(
                batch,
                output=(*batch.output, *output),
                errors=(*batch.errors, *errors),
                completed=batch.completed + len(held.answers),
                failed=batch.failed + len(held.errors),
                outcomes=_counted(batch.outcomes, held.outcomes),
                usage=batch.usage + held.usage,
                cost_nano_usd=batch.cost_nano_usd + held.cost_nano_usd,
            )
            await self._entry.save(lambda latest: self._with_counts(latest, told))
            faults.point("batch.saved")

    def _with_counts(self, latest: Batch, told: Batch) -> Batch:
        progress = replace(latest.progress, below=self.done.below, beyond=self.done.beyond, place=self._places[0])
        return replace(
            latest,
            output=told.output,
            errors=told.errors,
            completed=told.completed,
            failed=told.failed,
            outcomes=told.outcomes,
            usage=told.usage,
            cost_nano_usd=told.cost_nano_usd,
            progress=progress,
        )

    async def _segment(self, lines: list[bytes], file_id: str, name: str, is_first: bool) -> tuple[Segment, ...]:
        """Store the lines as one segment, none if there are none; the file is made with the first one."""
        if not lines:
            return ()
        batch = self._entry.batch
        seconds = batch.output_expires_seconds
        expires_at = None if seconds is None else batch.created_at + seconds
        if is_first:
            filename = f"{batch.id}_{name}.jsonl"
            create = self._files.create
            await outlasting(lambda: create(filename, Purpose.BATCH_OUTPUT, expires_at, file_id, batch.id))
        # What a failed try has stored is named nowhere, and goes with its age.
        return (await outlasting(lambda: self._files.write(file_id, b"".join(lines), len(lines))),)


def _outcome(line: Mapping[str, Any], result: Result | None) -> tuple[str, str | None]:
    """Return the status and the reason of a row; the reason is the result's, where the row has what came of it."""
    status = result.status.value if result is not None and line["error"] is None else line["error"]["code"]
    return status, result.reason.value if result is not None and status == result.status else None


def _counted(before: Iterable[RowCount], more: Counter[tuple[str, str | None]]) -> tuple[RowCount, ...]:
    """Return the counts with more rows, most rows first."""
    counts = Counter({(each.status, each.reason): each.rows for each in before}) + more
    found = (RowCount(status, reason, rows) for (status, reason), rows in counts.items())
    return tuple(sorted(found, key=lambda each: (-each.rows, each.status, each.reason or "")))
