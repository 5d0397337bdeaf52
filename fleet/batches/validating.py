"""Reads a batch's file once, whole, before the first row of it runs."""

from __future__ import annotations

import asyncio
import json

from fleet.batches.blocks import blocks_of
from fleet.batches.jobs import BatchDefaults
from fleet.batches.settings import RowCheck
from fleet.bulk.reading.checking import RowChecker, ValidationReport
from fleet.bulk.reading.splitting import lines_in
from fleet.bulk.reading.uniqueness import LineSet
from fleet.model.batch import Batch, LineProblem, Place, errors_id
from fleet.ports import FileStore

ROWS_PER_TURN = 100
"""Rows read before others get their turn: a few milliseconds."""

UNRUNNABLE = "invalid_line"
"""The code of a row that no repetition helps."""


async def validated(
    batch: Batch, files: FileStore, check: RowCheck, only: LineSet | None, now: float
) -> ValidationReport:
    """Return what is wrong with the rows of the batch.

    Raises: InvalidJob if one of its options breaks a rule; QueueUnavailable; OSError if the disk is full.
    """
    defaults = BatchDefaults(batch, now)
    with RowChecker(lambda submission: check(defaults.added_to(submission), batch.tenant)) as checker:
        async for block in blocks_of(files, batch.input_file_id, Place(), only):
            for number, row in enumerate(block.rows):
                checker.take(row.source, now)
                if number % ROWS_PER_TURN == 0:
                    await asyncio.sleep(0)
        report = await asyncio.to_thread(checker.finish)
    if not report.rows:
        rule = "must be a file of yours" if await files.info(batch.input_file_id) is None else "must have a row"
        report.add(LineProblem(0, 0, None, "input_file_id", rule))
    return report


async def lines_to_retry(batch: Batch, files: FileStore) -> LineSet | None:
    """Return the lines without an answer of the batch that this one retries; None: it retries none.

    Raises: QueueUnavailable.
    """
    if batch.retries is None:
        return None
    lines = LineSet()
    async for line in lines_in(files.read(errors_id(batch.retries))):
        said = json.loads(line.data)
        if said["error"]["code"] != UNRUNNABLE:
            lines.add(said["line"])
    return lines
