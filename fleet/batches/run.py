"""The run of one batch, from its file to its end, by the process that has leased it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from fleet import faults
from fleet.batches.ending import Ending
from fleet.batches.entry import Entry, outlasting
from fleet.batches.rows import Known, RowsRun, first_error
from fleet.batches.settings import RunSettings, Tenancy
from fleet.batches.validating import lines_to_retry, validated
from fleet.bulk.reading.checking import ValidationReport
from fleet.bulk.reading.uniqueness import LineSet
from fleet.model.batch import MOST_PROBLEMS, Batch, BatchStatus, LineProblem
from fleet.model.errors import FieldError, PartMissing

MUST_BE_THERE = "must be there until the batch has ended"
"""Tells of a file that was deleted, or has lost a part, before all its rows were read."""

Announce = Callable[[Batch], Awaitable[None]]
"""Tells others that a batch has ended. Raises: QueueUnavailable; it is called again later."""


class BatchRun:
    """A leased batch on its way to its end."""

    def __init__(self, entry: Entry, tenancy: Tenancy, known: Known, announce: Announce, settings: RunSettings) -> None:
        self.entry = entry
        self._tenancy = tenancy
        self._known = known
        self._announce = announce
        self._settings = settings
        self._rows: RowsRun | None = None
        self._is_cancelled = False

    def cancel(self) -> None:
        """Have the batch cancelled, as its entry says."""
        self._is_cancelled = True
        if self._rows is not None:
            self._rows.cancelled = True

    async def stop(self) -> None:
        """Copy what has come so far, for whoever runs the batch next."""
        if self._rows is not None:
            await self._rows.writer.copy()

    async def run(self) -> None:
        """Take the batch to its end, waiting out outages, and announce it.

        Raises: LeaseLost, LoginRefused; QueueUnavailable if it is not announced, so as to keep no other waiting.
        """
        if not self.entry.batch.status.is_final:
            await self._to_the_end()
            faults.point("batch.ended")
        await self._announce(self.entry.batch)
        await self.entry.save(lambda batch: replace(batch, told=True))

    async def _to_the_end(self) -> None:
        if await self._is_cancelled_before_its_rows():
            return
        try:
            only = await outlasting(lambda: lines_to_retry(self.entry.batch, self._tenancy.files))
            refused = await self._validate(only)
            if self.entry.batch.status.is_final:
                return
            rows = RowsRun(self.entry, self._tenancy, self._known, self._settings, refused, only)
        except PartMissing:
            await self.entry.save(partial(_failed, rule=MUST_BE_THERE, at=self._settings.now()))
            return
        except (FieldError, TypeError, ValueError, KeyError) as error:
            # What no door lets in, as a tenant with a login of its own may have written it.
            await self.entry.save(partial(_failed, rule=str(error), at=self._settings.now()))
            return
        await self._run(rows)

    async def _is_cancelled_before_its_rows(self) -> bool:
        """Return whether the batch has ended so: nothing of it has run, and no row is said anything of."""
        if self.entry.batch.status is BatchStatus.CANCELLING and not self.entry.batch.total:
            await self.entry.save(partial(_ended, ending=None, below=0, at=self._settings.now()))
        return self.entry.batch.status.is_final

    async def _run(self, rows: RowsRun) -> None:
        self._rows = rows
        rows.cancelled = self._is_cancelled
        ending = await rows.run()
        if ending is None or ending.status is BatchStatus.COMPLETED:
            await self.entry.save(partial(_finalizing, at=self._settings.now()))
        below, at = rows.writer.done.below, self._settings.now()
        await self.entry.save(partial(_ended, ending=ending, below=below, at=at))

    async def _validate(self, only: LineSet | None) -> LineSet:
        """Return the lines that are refused, read again where the batch has any."""
        batch = self.entry.batch
        if batch.total and not batch.problem_count:
            return LineSet()
        report = await self._while_leased(self._report(batch, only))
        if not batch.total:
            await self.entry.save(partial(_validated, report=report, at=self._settings.now()))
            faults.point("batch.validated")
        return report.refused

    async def _report(self, batch: Batch, only: LineSet | None) -> ValidationReport:
        now = self._settings.now()
        return await outlasting(lambda: validated(batch, self._tenancy.files, self._settings.check, only, now))

    async def _while_leased(self, work: Awaitable[ValidationReport]) -> ValidationReport:
        """Return what the work returns, and keep the lease meanwhile. Raises: LeaseLost, LoginRefused."""
        try:
            async with asyncio.TaskGroup() as tasks:
                keeping = tasks.create_task(self._keep_lease())
                report = await work
                keeping.cancel()
        except ExceptionGroup as group:
            raise first_error(group) from None
        return report

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(self._settings.tick_seconds)
            await self.entry.keep()


def _validated(batch: Batch, report: ValidationReport, at: float) -> Batch:
    """Return the batch after its validation."""
    if batch.status is BatchStatus.CANCELLING:
        return _ended(batch, None, 0, at)
    problems = tuple(report.problems)
    batch = replace(batch, total=report.rows, problems=problems, problem_count=report.problem_count)
    is_bad_file = any(problem.line == 0 for problem in problems)
    if is_bad_file or (problems and not batch.keep_going):
        return replace(batch, status=BatchStatus.FAILED, failed_at=at)
    if batch.status is not BatchStatus.VALIDATING:
        return batch
    return replace(batch, status=BatchStatus.IN_PROGRESS, in_progress_at=at)


def _failed(batch: Batch, rule: str, at: float) -> Batch:
    problem = LineProblem(0, 0, None, "input_file_id", rule)
    if batch.status.is_final:
        return batch
    if batch.status is BatchStatus.CANCELLING:
        return replace(batch, status=BatchStatus.CANCELLED, cancelled_at=at)
    return replace(
        batch,
        status=BatchStatus.FAILED,
        failed_at=at,
        problems=(problem, *batch.problems[: MOST_PROBLEMS - 1]),
        problem_count=batch.problem_count + 1,
    )


def _finalizing(batch: Batch, at: float) -> Batch:
    """Return the batch as one that can no longer be cancelled."""
    if batch.status is not BatchStatus.IN_PROGRESS:
        return batch
    return replace(batch, status=BatchStatus.FINALIZING, finalizing_at=at)


def _ended(batch: Batch, ending: Ending | None, below: int, at: float) -> Batch:
    if batch.status.is_final:
        return batch
    if batch.status is BatchStatus.CANCELLING:
        return replace(batch, status=BatchStatus.CANCELLED, cancelled_at=at)
    if ending is not None and ending.status is BatchStatus.EXPIRED:
        return replace(batch, status=BatchStatus.EXPIRED, expired_at=at)
    if below < batch.total:
        return _failed(batch, MUST_BE_THERE, at)
    return replace(batch, status=BatchStatus.COMPLETED, completed_at=at)
