"""Puts rows of output into the order of their lines, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from fleet.bulk.reading.sorting import SortOnDisk

MAX_HELD_BYTES = 64 * 1024 * 1024

_KEY_DIGITS = 16


class InputOrder:
    """Rows of output, taken in the order of the lines that they answer. Sorted in `folder`. Raises: OSError."""

    def __init__(self, folder: Path | None = None, max_bytes: int = MAX_HELD_BYTES) -> None:
        self._sorted = SortOnDisk(folder, max_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._sorted.close()

    def add(self, row: bytes) -> None:
        self._sorted.add(b"%0*x%s\n" % (_KEY_DIGITS, line_of(json.loads(row)), row))

    def rows(self) -> Iterator[bytes]:
        return (line[_KEY_DIGITS:-1] for line in self._sorted.sorted())


def line_of(row: Mapping[str, Any]) -> int:
    """Return the number of the line that a row of output answers."""
    return int(row["line"])
