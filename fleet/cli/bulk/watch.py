"""`fleet bulk status`, `watch`, `list` and `cancel`: what becomes of batches that are on the server."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from fleet.batches import wishes
from fleet.bulk.pace import Pace
from fleet.bulk.reading.splitting import lines_in
from fleet.cli.bulk.views import NANO, as_json, complaints, facts, listed, outlook, summary
from fleet.cli.connection import open_batches
from fleet.cli.output import Output
from fleet.model.batch import Batch, BatchStatus
from fleet.model.errors import FleetError

if TYPE_CHECKING:
    from fleet.ports import BatchStore, FileStore
    from fleet.settings.environment import Settings

TICK_SECONDS = 1.0
"""Seconds between looks at the clock while nothing changes: a batch that stands still must show that it does."""

UNTAKEN_SECONDS = 10.0
"""Seconds without a runner after which a watcher is told. One that is started again takes some."""

UNTAKEN = "nobody runs this batch: see that fleet batches run is started; where it is, all of its places are taken"

LEAST_BAR = 10
"""Minimum width of the bar on a narrow terminal, where the text at its end takes several lines."""

LATEST_BYTES = 256 * 1024
"""Bytes of the latest output that are read to see who answers: some hundred rows, however fast they come."""


async def status(settings: Settings, output: Output, batch_id: str) -> None:
    """Show a batch as it is now. Raises: FleetError if there is none; QueueUnavailable."""
    async with open_batches(settings) as (_, batches):
        show(output, await found(batches, batch_id))


async def watch(settings: Settings, output: Output, batch_id: str) -> None:
    """Show a batch until it ends. Any number of watchers may come and go. Raises: like `status`."""
    async with open_batches(settings) as (files, batches):
        show(output, await ended(files, batches, output, batch_id))


def show(output: Output, batch: Batch) -> None:
    output.object(as_json(batch))
    output.show(summary(batch), facts(batch, time.time()))
    output.show(*complaints(batch.problems, batch.problem_count))


async def ended(files: FileStore, batches: BatchStore, output: Output, batch_id: str) -> Batch:
    """Return the batch once it has ended, with a bar on stderr until then. Raises: like `status`."""
    latest = await found(batches, batch_id)
    with _bar(output) as progress:
        shown = _Shown(files, progress, lambda: output.progress(UNTAKEN))
        ticking = asyncio.create_task(shown.tick())
        try:
            async for latest in batches.watch(batch_id):
                await shown.update(latest)
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
    return latest


class Untaken:
    """Notices that nobody has run a batch for a while."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._is_told = False

    def note(self, batch: Batch, now: float, monotonic: float) -> bool:
        """Return whether it is to be told now: once each time that it lasts. `now` is unix seconds."""
        if batch.status.is_final or batch.progress.is_leased(now):
            self._since, self._is_told = None, False
            return False
        self._since = monotonic if self._since is None else self._since
        is_due = not self._is_told and monotonic - self._since >= UNTAKEN_SECONDS
        self._is_told = self._is_told or is_due
        return is_due


class _Shown:
    """The bar of a batch: rows, rate, time left, cost, and which targets answer; and word where nobody runs it."""

    def __init__(self, files: FileStore, progress: Progress, tell_untaken: Callable[[], None]) -> None:
        self._files = files
        self._progress = progress
        self._tell_untaken = tell_untaken
        self._untaken = Untaken()
        self._task = progress.add_task("", total=None, end="")
        self._pace = Pace()
        self._batch: Batch | None = None
        self._split: Mapping[str, float] = {}

    async def update(self, batch: Batch) -> None:
        self._batch = batch
        if not self._progress.disable:
            self._split = await split_of_latest(self._files, batch)
        self._draw()

    async def tick(self) -> None:
        while True:
            self._draw()
            await asyncio.sleep(TICK_SECONDS)

    def _draw(self) -> None:
        batch = self._batch
        if batch is None:
            return
        if self._untaken.note(batch, time.time(), time.monotonic()):
            self._tell_untaken()
        done = batch.completed + batch.failed
        self._pace.note(time.monotonic(), done)
        end = outlook(self._pace.outlook(batch.total, batch.cost_nano_usd / NANO), self._split)
        total = batch.total or None
        self._progress.update(self._task, description=batch.status.value, completed=done, total=total, end=end)


async def split_of_latest(files: FileStore, batch: Batch) -> dict[str, float]:
    """Return the share of each target in the latest answers. Raises: QueueUnavailable."""
    if batch.output_file_id is None:
        return {}
    size = sum(segment.bytes for segment in batch.output)
    counts: Counter[str] = Counter()
    async for line in lines_in(files.read(batch.output_file_id, max(0, size - LATEST_BYTES), size)):
        with suppress(ValueError, KeyError, TypeError):  # the first line is cut
            counts[json.loads(line.data)["response"]["body"]["fleet"]["target"]] += 1
    return {target: count / counts.total() for target, count in counts.items()}


def _bar(output: Output) -> Progress:
    console = output.progress_console
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30, table_column=Column(min_width=LEAST_BAR)),
        MofNCompleteColumn(),
        TextColumn("{task.fields[end]}", table_column=Column(overflow="fold")),
    )
    return Progress(*columns, console=console, transient=True, disable=output.as_json or not console.is_terminal)


async def show_list(settings: Settings, output: Output, limit: int) -> None:
    """Show the latest batches. Raises: QueueUnavailable."""
    async with open_batches(settings) as (_, batches):
        latest = await batches.list(limit)
    output.object({"batches": [as_json(batch) for batch in latest]})
    output.show(listed(latest) if latest else "no batches yet: fleet bulk submit FILE")


async def cancel(settings: Settings, output: Output, batch_id: str) -> None:
    """Cancel a batch; what it has so far stays. Raises: FleetError if it is not there or has ended."""
    async with open_batches(settings) as (_, batches):
        batch = there(batch_id, await wishes.cancel(batches, batch_id, time.time()))
    if batch.status not in (BatchStatus.CANCELLING, BatchStatus.CANCELLED):
        raise FleetError(f"batch {batch_id} is {batch.status}: it cannot be cancelled any more")
    output.object(as_json(batch))
    output.say(summary(batch))


async def found(batches: BatchStore, batch_id: str) -> Batch:
    """Return the batch. Raises: FleetError if there is none of this id."""
    entry = await batches.get(batch_id)
    return there(batch_id, None if entry is None else entry[0])


def there(batch_id: str, batch: Batch | None) -> Batch:
    """Return the batch. Raises: FleetError if it is None, because there is none of this id."""
    if batch is None:
        raise FleetError(f"there is no batch {batch_id}: fleet bulk list shows those there are")
    return batch
