"""Reads processor time from /proc, of a process with all it started and of the machine, and kills such a tree."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
LOOK_SECONDS = 0.5


def tree(root: int) -> list[int]:
    """Return the process and all its descendants that are alive."""
    children: dict[int, list[int]] = {}
    for pid, fields in _stats():
        children.setdefault(int(fields[1]), []).append(pid)
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def kill_tree(root: int) -> None:
    """Send SIGKILL to the process and all its descendants."""
    for pid in tree(root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def processor_seconds(root: int, without: int | None = None) -> float:
    """Return what the process and its descendants have used, without one of them and its own."""
    left_out = set() if without is None else set(tree(without))
    wanted = set(tree(root)) - left_out
    return sum(sum(map(int, fields[11:15])) for pid, fields in _stats() if pid in wanted) / TICKS


def _stats() -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of /proc/PID/stat after the name, of every process."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                yield int(folder.name), (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue


def busy_share(seconds: float = LOOK_SECONDS) -> float:
    """Return how much of the machine's processors was used while this process only waited: what others do to us."""
    before, started = _busy_seconds(), time.monotonic()
    time.sleep(seconds)
    used = _busy_seconds() - before
    return min(1.0, used / (time.monotonic() - started) / (os.cpu_count() or 1))


def _busy_seconds() -> float:
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(int, _first_line("/proc/stat").split()[1:])
    return (user + nice + system + irq + softirq + steal) / TICKS


def _first_line(path: str) -> str:
    with Path(path).open() as file:
        return file.readline()
