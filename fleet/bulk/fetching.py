"""Fetches what has come of a batch so far, in an order and a format, in constant memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from enum import StrEnum
from pathlib import Path

from fleet.bulk.reading.splitting import lines_in
from fleet.bulk.writing.ordering import InputOrder
from fleet.bulk.writing.sinks import OutputFormat, RowSink, open_sink
from fleet.bulk.writing.whole import whole_file
from fleet.model.batch import Batch
from fleet.model.errors import FleetError
from fleet.ports import FileStore

MAX_ROW_BYTES = 16 * 1024 * 1024
"""Maximum bytes of a row of output: more than any result."""


class RowOrder(StrEnum):
    """`finished`: as they came, those without an answer last; `input`: by the line that they answer."""

    FINISHED = "finished"
    INPUT = "input"


async def fetch(files: FileStore, batch: Batch, sink: Path, order: RowOrder, form: OutputFormat) -> int:
    """Write the rows that are there to `sink`, which appears when all are written; return how many there are.

    Raises: FleetError if a file of the batch is gone; OSError; QueueUnavailable.
    """
    for file_id in _files_of(batch):
        if await files.info(file_id) is None:
            raise FleetError(f"the rows of {batch.id} are gone: {file_id} was deleted, or kept no longer")
    with whole_file(sink) as part, open_sink(part, form) as rows:
        if order is RowOrder.FINISHED:
            return await _copy(files, batch, rows)
        return await _sort(files, batch, rows, sink.parent)


async def _copy(files: FileStore, batch: Batch, sink: RowSink) -> int:
    count = 0
    async for row in rows_of(files, batch):
        sink.add(row)
        count += 1
    return count


async def _sort(files: FileStore, batch: Batch, sink: RowSink, folder: Path) -> int:
    count = 0
    with InputOrder(folder) as ordered:
        async for row in rows_of(files, batch):
            ordered.add(row)
        for row in ordered.rows():
            sink.add(row)
            count += 1
    return count


async def rows_of(files: FileStore, batch: Batch) -> AsyncIterator[bytes]:
    """Yield each row of the batch's two files, answers first, without its line feed."""
    for file_id in _files_of(batch):
        async for line in lines_in(files.read(file_id), MAX_ROW_BYTES):
            yield line.data


def _files_of(batch: Batch) -> Iterator[str]:
    return (file_id for file_id in (batch.output_file_id, batch.error_file_id) if file_id is not None)
