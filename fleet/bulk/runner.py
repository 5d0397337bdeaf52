"""Runs a file of jobs: a bounded window of them in flight, one output line for every input line."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from fleet.bulk import lines, outcomes
from fleet.bulk.inbox import FIRST_SWEEP_SECONDS, Inbox
from fleet.bulk.reading.sources import SourceFormat, format_of
from fleet.bulk.reading.splitting import PIECE_BYTES, Line, LineSplitter, lines_of
from fleet.files import check_output, is_special
from fleet.model.errors import ConfigError, InvalidJob
from fleet.ports import JobDesk

DEFAULT_WINDOW = 1000
"""Enough to keep every batch of every target full, and few enough that the queue stays short."""

UNREADABLE = "unreadable"
"""The outcome of a line that is no job, counted beside the statuses of results."""


@dataclass(frozen=True, slots=True)
class BulkProgress:
    """The progress of a run; `outcomes` counts the finished lines by their result's status, or `UNREADABLE`."""

    total: int
    outcomes: Mapping[str, int] = field(default_factory=dict)

    @property
    def done(self) -> int:
        return sum(self.outcomes.values())


async def run(
    desk: JobDesk,
    source: Path,
    sink: Path,
    *,
    tenant: str,
    name: str | None = None,
    window: int = DEFAULT_WINDOW,
    on_progress: Callable[[BulkProgress], None] = lambda progress: None,
    first_sweep_seconds: float = FIRST_SWEEP_SECONDS,
) -> BulkProgress:
    """Answer every line of `source` into `sink`, in the order in which they finish.

    A job id is derived from the desk's `tenant`, the run's `name` (by default the digest of the file) and
    the line, and a stored result is used if there is one: repeating a run after a crash continues it.
    `sink` appears complete or not at all; until then the lines are in `<sink>.part`.

    Raises: ConfigError if a file cannot be used, before any is opened; OSError; QueueUnavailable (repeat the run).
    """
    part = sink.with_name(f"{sink.name}.part")
    _check(source, sink, part)
    total, digest = await asyncio.to_thread(_survey, source)
    key = lines.run_key(tenant, name or digest)
    with source.open("rb") as incoming, part.open("wb") as outgoing:
        async with Inbox(desk, first_sweep_seconds) as inbox:
            bulk = _Run(desk, inbox, key, window, outgoing, total, on_progress)
            await bulk.all(lines_of(incoming))
    part.replace(sink)
    return bulk.progress


def _check(source: Path, sink: Path, part: Path) -> None:
    if is_special(source):
        raise ConfigError("file", f"{source} must be a regular file: it is read twice")
    if is_special(sink):
        raise ConfigError("--output", f"{sink} must be a regular file: it appears when it is complete")
    check_output("--output", sink, [source])
    check_output("--output", part, [source])
    if format_of(source) is not SourceFormat.JSONL:
        raise ConfigError("file", f"{source} is no JSONL: fleet bulk submit --template makes jobs of a table")


def _survey(source: Path) -> tuple[int, str]:
    """Return the number of lines that are not blank, and the digest of the file."""
    digest, total = hashlib.blake2b(digest_size=16), 0
    splitter = LineSplitter()
    with source.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
            total += sum(not line.is_blank for line in splitter.feed(piece))
    total += sum(not line.is_blank for line in splitter.finish())
    return total, digest.hexdigest()


class _Run:
    """One pass over a file."""

    def __init__(
        self,
        desk: JobDesk,
        inbox: Inbox,
        key: bytes,
        window: int,
        sink: BinaryIO,
        total: int,
        on_progress: Callable[[BulkProgress], None],
    ) -> None:
        self._desk = desk
        self._inbox = inbox
        self._key = key
        self._room = asyncio.Semaphore(window)
        self._sink = sink
        self._total = total
        self._on_progress = on_progress
        self._outcomes: Counter[str] = Counter()
        self._line_of: dict[str, int] = {}

    @property
    def progress(self) -> BulkProgress:
        return BulkProgress(self._total, dict(self._outcomes))

    async def all(self, found: Iterator[Line]) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for line in found:
                    if line.is_blank:
                        continue
                    await self._room.acquire()
                    tasks.create_task(self._one(line)).add_done_callback(lambda _: self._room.release())
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _one(self, line: Line) -> None:
        number = line.number
        try:
            row = lines.read_line(self._key, number, line.whole(), time.time())
        except InvalidJob as problem:
            self._refuse(lines.custom_id_of(number, line.data), number, problem)
            return
        first = self._line_of.setdefault(row.custom_id, number)
        if first != number:
            rule = f"{row.custom_id!r} is on line {first} already; it must be unique"
            self._refuse(lines.default_custom_id(number), number, InvalidJob("custom_id", rule))
            return
        try:
            await self._answer(row)
        except InvalidJob as problem:
            self._refuse(row.custom_id, number, problem)

    async def _answer(self, row: lines.BulkRow) -> None:
        """Ask for a stored result before submitting: the queue's own memory of ids is shorter than a run."""
        with self._inbox.expecting(row.submission.id) as awaited:
            result = await self._desk.result(row.submission.id)
            if result is None:
                await self._desk.submit([row.submission])
                result = await awaited
        self._write(result.status, outcomes.answered(row.custom_id, row.number, result))

    def _refuse(self, custom_id: str, number: int, problem: InvalidJob) -> None:
        self._write(UNREADABLE, outcomes.unreadable(custom_id, number, problem))

    def _write(self, outcome: str, line: Mapping[str, Any]) -> None:
        self._sink.write(outcomes.encoded(line))
        self._outcomes[str(outcome)] += 1
        self._on_progress(self.progress)
