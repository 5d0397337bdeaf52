"""Splits bytes that come in pieces into lines of bounded length, so that no line however long fills the memory."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from fleet.model.errors import InvalidJob

MAX_LINE_BYTES = 2 * 1024 * 1024
"""Maximum bytes of a line: four times the longest job, whose characters may be written as six (\\u00e9) for two."""

PIECE_BYTES = 128 * 1024

BOM = b"\xef\xbb\xbf"
"""What some editors write before UTF-8."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file: its `number` from 1, the offset of its first byte, its bytes without the line break.

    Of a line over the limit `data` is the beginning, and `is_whole` is False.
    """

    number: int
    start: int
    data: bytes
    is_whole: bool = True

    @property
    def is_blank(self) -> bool:
        return not self.data.removeprefix(BOM).strip()

    def whole(self) -> bytes:
        """Return the bytes. Raises: InvalidJob if they are not all."""
        if not self.is_whole:
            raise InvalidJob("line", f"must be at most {MAX_LINE_BYTES:,} bytes")
        return self.data


class LineSplitter:
    """Splits at line feeds alone: other characters that end lines elsewhere, such as U+2028, may stand inside JSON."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._begun = bytearray()
        self._length = 0
        self._number = 1
        self._start = 0

    def feed(self, piece: bytes) -> Iterator[Line]:
        """Yield the lines that end in this piece, which follows the pieces before."""
        begin = 0
        while (end := piece.find(b"\n", begin)) >= 0:
            yield self._ended(piece[begin:end], 1)
            begin = end + 1
        self._take(piece[begin:])

    def finish(self) -> Iterator[Line]:
        """Yield the last line if no line feed ends it."""
        if self._length:
            yield self._ended(b"", 0)

    def begun(self) -> Line:
        """Return the line that has not ended yet, as far as it has come."""
        return Line(self._number, self._start, bytes(self._begun), not self.is_too_long)

    @property
    def is_too_long(self) -> bool:
        """Return whether the line that has not ended yet is over the limit already."""
        return self._length > self._max_line_bytes

    def _take(self, part: bytes) -> None:
        self._length += len(part)
        self._begun += part[: self._max_line_bytes - len(self._begun)]

    def _ended(self, part: bytes, break_bytes: int) -> Line:
        self._take(part)
        line = self.begun()
        self._number += 1
        self._start += self._length + break_bytes
        self._begun.clear()
        self._length = 0
        return line


def lines_of(file: BinaryIO, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[Line]:
    """Yield every line of an open file, blank ones too."""
    splitter = LineSplitter(max_line_bytes)
    while piece := file.read(PIECE_BYTES):
        yield from splitter.feed(piece)
    yield from splitter.finish()


async def lines_in(pieces: AsyncIterable[bytes], max_line_bytes: int = MAX_LINE_BYTES) -> AsyncIterator[Line]:
    """Yield every line of what comes in pieces, blank ones too."""
    splitter = LineSplitter(max_line_bytes)
    async for piece in pieces:
        for line in splitter.feed(piece):
            yield line
    for line in splitter.finish():
        yield line
