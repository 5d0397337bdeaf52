"""Sorts any number of lines in a bounded part of memory; what does not fit lies in unnamed files."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Self

MAX_SORTED_BYTES = 16 * 1024 * 1024
"""Maximum bytes held at once: 200,000 short lines."""

OBJECT_BYTES = 64
"""What Python adds to each line that is held."""

MAX_RUNS = 64
"""Maximum number of open files; then they are merged into one."""


class SortOnDisk:
    """Lines, each ending in a line feed, to be taken in the order of their bytes. Raises: OSError."""

    def __init__(self, folder: Path | None = None, max_bytes: int = MAX_SORTED_BYTES, max_runs: int = MAX_RUNS) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_runs = max_runs
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._runs: list[IO[bytes]] = []
        self._files = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove everything that lies on disk."""
        self._files.close()

    def add(self, line: bytes) -> None:
        self._held.append(line)
        self._held_bytes += len(line) + OBJECT_BYTES
        if self._held_bytes > self._max_bytes:
            self._write_run()

    def sorted(self) -> Iterator[bytes]:
        """Yield all lines in order; none may be added afterwards."""
        self._held.sort()
        yield from heapq.merge(*self._runs, self._held)

    def _write_run(self) -> None:
        if len(self._runs) == self._max_runs:
            self._merge_runs()
        self._held.sort()
        self._runs.append(self._file_of(iter(self._held)))
        self._held, self._held_bytes = [], 0

    def _merge_runs(self) -> None:
        merged = self._file_of(heapq.merge(*self._runs))
        for run in self._runs:
            run.close()
        self._runs = [merged]

    def _file_of(self, lines: Iterator[bytes]) -> IO[bytes]:
        file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  # open until all is sorted
        self._files.enter_context(file)
        file.writelines(lines)
        file.seek(0)
        return file
