"""Finds repeated ids among any number of rows, in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fleet.bulk.reading.sorting import MAX_SORTED_BYTES, SortOnDisk

DIGEST_BYTES = 16
"""Of an id: among a billion of them, two different ones meet with a probability of 1e-21."""


@dataclass(frozen=True, slots=True)
class RepeatedId:
    """A line whose id stands on line `first` already; `start` is the offset of its first byte."""

    number: int
    start: int
    first: int


class UniqueIds:
    """The ids of rows in the order of their lines. They are sorted by digest on disk, so repeats are known at the end.

    Raises: OSError.
    """

    def __init__(self, folder: Path | None = None, max_bytes: int = MAX_SORTED_BYTES) -> None:
        self._sorted = SortOnDisk(folder, max_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._sorted.close()

    def add(self, custom_id: str, number: int, start: int) -> None:
        digest = hashlib.blake2b(custom_id.encode(), digest_size=DIGEST_BYTES).hexdigest()
        self._sorted.add(b"%s %016x %016x\n" % (digest.encode(), number, start))

    def repeated(self) -> Iterator[RepeatedId]:
        """Yield each row whose id an earlier line has, those of one id together."""
        digest, first = b"", 0
        for line in self._sorted.sorted():
            found, number, start = line.split()
            if found == digest:
                yield RepeatedId(int(number, 16), int(start, 16), first)
            else:
                digest, first = found, int(number, 16)


class LineSet:
    """A set of line numbers that takes one bit for each line up to the highest."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, number: int) -> None:
        place = number >> 3
        if place >= len(self._bits):
            self._bits.extend(bytes(place + 1 - len(self._bits)))
        self._bits[place] |= 1 << (number & 7)

    def __contains__(self, number: int) -> bool:
        place = number >> 3
        return place < len(self._bits) and bool(self._bits[place] >> (number & 7) & 1)
