"""Stores a file of jobs on the server while its rows are checked, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from fleet.bulk.reading.checking import RowChecker
from fleet.bulk.reading.sources import SourcePiece
from fleet.model.batch import StoredFile
from fleet.model.errors import QueueUnavailable
from fleet.ports import FileStore

UPLOAD_BYTES = 2 * 1024 * 1024
"""Bytes that are stored at once: each time the file's entry is written anew."""


async def upload(
    files: FileStore,
    filename: str,
    pieces: Iterable[SourcePiece],
    checker: RowChecker,
    now: Callable[[], float],
    on_rows: Callable[[int], None] = lambda rows: None,
) -> StoredFile:
    """Store the pieces as a file, which is closed then; if that fails none is left.

    `on_rows` is told how many rows have been read so far.

    Raises: UnreadableTable; OSError; QueueUnavailable.
    """
    file = await files.create(filename)
    try:
        await _append(files, file.id, pieces, checker, now, on_rows)
        return _there(await files.close(file.id))
    except BaseException:
        await discard(files, file.id)
        raise


async def discard(files: FileStore, file_id: str) -> None:
    """Remove a file that nobody needs; if the broker is away it goes when it is old."""
    with suppress(QueueUnavailable):
        await files.delete(file_id)


async def _append(
    files: FileStore,
    file_id: str,
    pieces: Iterable[SourcePiece],
    checker: RowChecker,
    now: Callable[[], float],
    on_rows: Callable[[int], None],
) -> None:
    held, rows = bytearray(), 0
    for piece in pieces:
        for row in piece.rows:
            checker.take(row, now())
        held += piece.data
        rows += sum(bool(row.data) for row in piece.rows)
        if len(held) >= UPLOAD_BYTES:
            _there(await files.append(file_id, bytes(held), rows))
            held, rows = bytearray(), 0
            on_rows(checker.report.rows)
    if held:
        _there(await files.append(file_id, bytes(held), rows))
    on_rows(checker.report.rows)


def _there(file: StoredFile | None) -> StoredFile:
    """Return the file. Raises: QueueUnavailable if somebody has removed it."""
    if file is None:
        raise QueueUnavailable("the file was removed while it was stored")
    return file
