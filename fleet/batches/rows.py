"""Has the rows of a batch answered: a window of them in flight, and each copied when it has ended."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace

from fleet import faults
from fleet.batches.blocks import Block, NumberedRow, blocks_of
from fleet.batches.budget import NANO, RowBudget
from fleet.batches.ending import BUDGET_SPENT, CANCELLED, EXPIRED, Ending
from fleet.batches.entry import Entry, outlasting
from fleet.batches.jobs import JobsOfBatch, RowJob
from fleet.batches.settings import RowPrice, RunSettings, Tenancy, free
from fleet.batches.validating import ROWS_PER_TURN
from fleet.batches.writing import BatchWriter
from fleet.bulk.outcomes import answered, unfinished, unreadable
from fleet.bulk.reading.uniqueness import LineSet
from fleet.logs import get_logger
from fleet.model.batch import Batch, BatchStatus
from fleet.model.errors import InvalidJob, LoginRefused, PartMissing, QueueUnavailable
from fleet.model.result import Result, Status
from fleet.model.submission import Submission

SUBMITTED_AT_ONCE = 100

END_PATIENCE_SECONDS = 600.0
"""Seconds that rows in flight may take to end once their batch has; OpenAI allows a cancelled batch as many."""

FORGOTTEN_SECONDS = 300.0
"""Seconds after which a row without a result is looked for. Its result may have made room before it was read."""

Known = Callable[[Collection[str]], Awaitable[Collection[str]]]
"""Returns those of some jobs that wait, are in hand, or have a result."""

log = get_logger(__name__)


class _GivenUp(Exception):
    """Raised in the place of a result that did not come in time."""


@dataclass(slots=True)
class _InFlight:
    """A row on its way, and when it was last known to be."""

    job: RowJob
    seen_at: float
    has_ended: bool = False


class RowsRun:
    """The rows of one batch, with `only` those on these lines. `refused` are the lines that validation refused."""

    def __init__(
        self,
        entry: Entry,
        tenancy: Tenancy,
        known: Known,
        settings: RunSettings,
        refused: LineSet,
        only: LineSet | None,
    ) -> None:
        """Raises: InvalidJob, ValueError if the entry holds what no runner has written."""
        batch = entry.batch
        self.writer = BatchWriter(entry, tenancy.files, settings.monotonic)
        self._entry = entry
        self._tenancy = tenancy
        self._known = known
        self._settings = settings
        self._only = only
        self._jobs = JobsOfBatch(batch, refused, settings.check, settings.now())
        self._claimed_before = batch.progress.claimed
        self._room = asyncio.Semaphore(settings.window)
        self._in_flight: dict[str, _InFlight] = {}
        self._ended: asyncio.Queue[tuple[RowJob, Result | Exception]] = asyncio.Queue()
        self._landed = asyncio.Event()
        self._released = asyncio.Event()
        self._are_done = False
        limit = batch.max_cost_nano_usd
        self._budget = None if limit is None else RowBudget(limit, settings.window)
        self._price: RowPrice = free
        self._ending: Ending | None = None
        self._ended_at = 0.0
        self.cancelled = False
        """Set from outside once the batch is to be cancelled."""

    async def run(self) -> Ending | None:
        """Return once all rows are done and copied, with what ended the batch before that. Outages are waited out.

        Raises: LeaseLost, LoginRefused.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tick())
                collecting = tasks.create_task(self._collect())
                await self._look()
                await self._submit_all()
                await self._all_landed()
                collecting.cancel()
                # Not cancelled: it may be copying.
                self._are_done = True
                self.writer.hurry()
        except ExceptionGroup as group:
            raise first_error(group) from None
        finally:
            for job_id in self._in_flight:
                self._tenancy.inbox.forget(job_id, self._on_result)
        await self.writer.copy()
        return self._ending

    async def _tick(self) -> None:
        """Copy what is due, keep the lease, and look whether the batch has to end."""
        while not self._are_done:
            await self.writer.copy_when_due(self._settings.tick_seconds)
            await self._look()
            await self._submit_forgotten()
            await self._entry.keep()

    async def _look(self) -> None:
        batch = self._entry.batch
        if self._ending is None:
            if self.cancelled or batch.status is BatchStatus.CANCELLING:
                await self._end(CANCELLED)
            elif self._settings.now() >= batch.expires_at:
                await self._end(EXPIRED)
        elif self._settings.monotonic() - self._ended_at >= END_PATIENCE_SECONDS:
            for each in self._in_flight.values():
                self._end_row(each, _GivenUp())

    async def _end(self, ending: Ending) -> None:
        self._ending, self._ended_at = ending, self._settings.monotonic()
        self._released.set()
        waiting = list(self._in_flight)
        for start in range(0, len(waiting), SUBMITTED_AT_ONCE):
            await asyncio.gather(*map(self._cancel, waiting[start : start + SUBMITTED_AT_ONCE]))

    async def _cancel(self, job_id: str) -> None:
        await outlasting(lambda: self._tenancy.desk.cancel(job_id))

    async def _submit_forgotten(self) -> None:
        """Submit rows again that the fleet no longer knows."""
        now = self._settings.monotonic()
        old = [each for each in self._in_flight.values() if now - each.seen_at >= FORGOTTEN_SECONDS]
        if not old or self._ending is not None:
            return
        known = await outlasting(lambda: self._known([each.job.job_id for each in old]))
        for each in old:
            each.seen_at = now
            if each.job.job_id not in known and not each.has_ended:
                log.warning("batch_row_submitted_again", batch=self._entry.batch.id, line=each.job.line)
                if (submission := self._within_budget(each.job)) is not None:
                    await self._send([each.job], [submission])

    async def _submit_all(self) -> None:
        place = self._entry.batch.progress.place
        while True:
            try:
                async for block in blocks_of(self._tenancy.files, self._entry.batch.input_file_id, place, self._only):
                    await self._submit_block(block)
                    place = block.after
                return
            except LoginRefused:
                raise
            except PartMissing:
                return  # as where the file was deleted: what has been submitted is waited for
            except QueueUnavailable as error:
                log.warning("batch_waits_for_broker", error=str(error))
                await asyncio.sleep(self._settings.tick_seconds)

    async def _submit_block(self, block: Block) -> None:
        """Submit the rows of a block that are not done, as far as there is room; nothing here is not waited out."""
        jobs = await self._made([row for row in block.rows if row.row not in self.writer.done])
        for job in jobs:
            if job.problem is not None:
                await self.writer.add(job.row, unreadable(job.custom_id, job.line, job.problem))
        runnable = [job for job in jobs if job.problem is None]
        if runnable and self._ending is None:
            await self._claim(block.after.row)
        known = await self._known_of(runnable)
        await self._await_known([job for job in runnable if job.job_id in known])
        fresh = [job for job in runnable if job.job_id not in known]
        order = self._settings.order([job.said for job in fresh])
        if self._budget is not None:
            self._price = await self._settings.prices()
        await self._submit(deque(fresh[place] for place in order))
        self.writer.reached(block.after)

    async def _made(self, rows: list[NumberedRow]) -> list[RowJob]:
        now, jobs = self._settings.now(), list[RowJob]()
        for number, row in enumerate(rows):
            jobs.append(self._jobs.job(row, now))
            if number % ROWS_PER_TURN == 0:
                await asyncio.sleep(0)
        return jobs

    async def _claim(self, row: int) -> None:
        """Record that rows below this one may have been submitted, before any is."""

        def claimed(batch: Batch) -> Batch:
            return replace(batch, progress=replace(batch.progress, claimed=max(row, batch.progress.claimed)))

        if row > self._entry.batch.progress.claimed:
            await self._entry.save(claimed)
            faults.point("batch.claimed")

    async def _known_of(self, jobs: list[RowJob]) -> Collection[str]:
        """Return the jobs that a runner before this one has submitted, as far as the fleet has not forgotten them."""
        claimed = [job.job_id for job in jobs if job.row < self._claimed_before]
        return await outlasting(lambda: self._known(claimed)) if claimed else ()

    async def _await_known(self, jobs: list[RowJob]) -> None:
        for job in jobs:
            await self._room.acquire()
            self._expect(job)
            if self._ending is not None:
                await self._cancel(job.job_id)
        if self._budget is not None and jobs:
            await self._all_landed()  # nobody knows how much of the budget they were given

    async def _submit(self, jobs: deque[RowJob]) -> None:
        while jobs:
            await self._room.acquire()
            if self._ending is not None:
                await self._leave_out(jobs.popleft(), self._ending)
                continue
            portion = await self._portion(jobs)
            if not portion:
                self._room.release()
                await self._await_money()
                continue
            # Before they are submitted, so that no announcement is missed.
            for job, _ in portion:
                self._expect(job)
            await self._send([job for job, _ in portion], [submission for _, submission in portion])
            faults.point("batch.submitted")

    async def _portion(self, jobs: deque[RowJob]) -> list[tuple[RowJob, Submission]]:
        """Take rows that have room and money; the caller has made room for the first."""
        portion: list[tuple[RowJob, Submission]] = []
        while (submission := self._within_budget(jobs[0])) is not None:
            portion.append((jobs.popleft(), submission))
            if not jobs or len(portion) == SUBMITTED_AT_ONCE or self._room.locked():
                break
            await self._room.acquire()
        else:
            if portion:
                self._room.release()  # of the row that has to wait
        return portion

    async def _await_money(self) -> None:
        """Return once a row has ended and what it did not cost is left again; without one, end the batch."""
        if not self._in_flight:
            await self._end(BUDGET_SPENT)
            return
        self._released.clear()
        await self._released.wait()

    async def _leave_out(self, job: RowJob, ending: Ending) -> None:
        line = unfinished(job.job_id, job.custom_id, job.line, ending.code, ending.message)
        await self.writer.add(job.row, line)
        self._room.release()

    def _within_budget(self, job: RowJob) -> Submission | None:
        """Return the row with its share of the budget as a limit; None while what is left does not cover it."""
        if self._budget is None:
            return job.said
        batch = self._entry.batch
        rows_left = batch.total - batch.completed - batch.failed
        most, own = self._price(job.said, batch.tenant), job.said.max_cost_usd
        if own is not None:
            most = min(most, round(own * NANO))
        limit = self._budget.reserve(job.job_id, most, self.writer.cost_nano_usd, rows_left)
        if limit is None:
            return None
        return replace(job.said, max_cost_usd=limit if own is None else min(own, limit))

    async def _send(self, jobs: list[RowJob], submissions: list[Submission]) -> None:
        try:
            await outlasting(lambda: self._tenancy.desk.submit(submissions))
        except InvalidJob as problem:
            if len(jobs) == 1:
                if (each := self._in_flight.get(jobs[0].job_id)) is not None:
                    self._end_row(each, problem)
                return
            # One of them; the others are submitted, or not. The same id again changes nothing.
            for job, submission in zip(jobs, submissions, strict=True):
                await self._send([job], [submission])

    def _expect(self, job: RowJob) -> None:
        """Have the row's line copied once the row has ended."""
        self._in_flight[job.job_id] = _InFlight(job, self._settings.monotonic())
        self._tenancy.inbox.expect(job.job_id, self._on_result)

    def _on_result(self, result: Result) -> None:
        if (each := self._in_flight.get(result.job_id)) is not None:
            self._end_row(each, result)

    def _end_row(self, each: _InFlight, ended: Result | Exception) -> None:
        if not each.has_ended:
            each.has_ended = True
            self._ended.put_nowait((each.job, ended))

    async def _collect(self) -> None:
        """Have the lines of ended rows copied, and make room for others."""
        while True:
            job, ended = await self._ended.get()
            await self.writer.add(job.row, self._line(job, ended), ended if isinstance(ended, Result) else None)
            self._tenancy.inbox.forget(job.job_id, self._on_result)
            del self._in_flight[job.job_id]
            if self._budget is not None:
                self._budget.release(job.job_id)
            self._released.set()
            self._room.release()
            if not self._in_flight:
                self._landed.set()

    async def _all_landed(self) -> None:
        """Return once no row is in flight."""
        while self._in_flight:
            self._landed.clear()
            await self._landed.wait()

    def _line(self, job: RowJob, ended: Result | Exception) -> dict[str, object]:
        ending = self._ending or CANCELLED
        match ended:
            case Result() if self._ending is None or not _is_ended_by_us(ended):
                return answered(job.custom_id, job.line, ended)
            case InvalidJob():
                return unreadable(job.custom_id, job.line, ended)
            case _:
                return unfinished(job.job_id, job.custom_id, job.line, ending.code, ending.message)


def _is_ended_by_us(result: Result) -> bool:
    return result.answer is None and result.status in (Status.CANCELLED, Status.EXPIRED)


def first_error(group: ExceptionGroup[Exception]) -> Exception:
    """Return the first error in groups of any depth."""
    first = group.exceptions[0]
    return first_error(first) if isinstance(first, ExceptionGroup) else first
