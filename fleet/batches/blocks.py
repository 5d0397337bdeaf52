"""Reads the rows of a batch in blocks: as many as may be put in another order, and as many as are held at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from fleet.bulk.reading.sources import SourceRow, row_of
from fleet.bulk.reading.splitting import Line, lines_in
from fleet.bulk.reading.uniqueness import LineSet
from fleet.model.batch import Place
from fleet.ports import FileStore

BLOCK_ROWS = 5_000
BLOCK_BYTES = 8 * 1024 * 1024
"""Maximum rows and bytes of a block. Rows of thousands of different prompts find their like in it."""


@dataclass(frozen=True, slots=True)
class NumberedRow:
    """Row number `row` of a batch, counted from 0, as it stands in the file."""

    row: int
    source: SourceRow


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that follow each other in the file. Reading the next block begins at `after`."""

    at: Place
    after: Place
    rows: tuple[NumberedRow, ...]


async def blocks_of(files: FileStore, file_id: str, place: Place, only: LineSet | None = None) -> AsyncIterator[Block]:
    """Yield the rows from a place on, blank lines left out; with `only`, the lines of these numbers alone.

    Raises: QueueUnavailable.
    """
    at, after, rows, size = place, place, list[NumberedRow](), 0
    end = place.byte

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal end
        async for piece in files.read(file_id, place.byte):
            end += len(piece)
            yield piece

    async for line in lines_in(pieces()):
        number, start = place.line + line.number, place.byte + line.start
        if rows and (len(rows) == BLOCK_ROWS or size + len(line.data) > BLOCK_BYTES):
            after = Place(after.row, number - 1, start)
            yield Block(at, after, tuple(rows))
            at, rows, size = after, [], 0
        if line.is_blank or (only is not None and number not in only):
            continue
        rows.append(NumberedRow(after.row, row_of(Line(number, start, line.data, line.is_whole))))
        after = Place(after.row + 1, number, start)
        size += len(line.data)
    if rows:
        yield Block(at, after._replace(byte=end), tuple(rows))
