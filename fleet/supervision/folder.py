"""Keeps a data folder for one fleet: two brokers on one store would spoil it.

The lock is held by the fleet and by each of its parts, so a part that outlived a fleet keeps it. Whoever starts a fleet
there next ends such parts first.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fleet.model.errors import FleetError
from fleet.supervision.processes import PROC, end, pids

LOCK_FILE: Final = "fleet.lock"
"""The name of the file that is locked; it holds the process id of the fleet."""

GRACE_SECONDS: Final = 10.0
"""Seconds that parts of an earlier fleet have to end: the broker writes what it has."""


@contextmanager
def held(folder: Path, on_progress: Callable[[str], None]) -> Iterator[int]:
    """Hold the folder; provide the descriptor that each part must inherit.

    Raises: FleetError if a fleet runs there; OSError if nothing can be written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_FILE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _locks(descriptor):
            _end_what_is_left(path, descriptor, on_progress)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _end_what_is_left(path: Path, descriptor: int, on_progress: Callable[[str], None]) -> None:
    """End parts whose fleet is gone, and take the lock. Raises: FleetError."""
    owner, holders = _owner(path), _holders(path)
    if not holders or owner in holders:
        who = f" (pid {owner})" if owner else ""
        raise FleetError(f"a fleet runs here already{who}, folder {path.parent.absolute()}: use it, or {_stop(owner)}")
    named = ", ".join(f"{_name(pid)} (pid {pid})" for pid in sorted(holders))
    on_progress(f"ending what a fleet (pid {owner}) that was killed left in {path.parent.absolute()}: {named}")
    end(lambda: _holders(path), GRACE_SECONDS)
    if not _locks(descriptor):
        raise FleetError(f"{path} is locked, and whoever holds it does not end: another fleet has just been started")


def _stop(owner: int | None) -> str:
    again = "start this one with another FLEET_DATA_DIR"
    return f"stop it with `kill {owner}`, or {again}" if owner else again


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def _holders(path: Path) -> set[int]:
    """Return the processes that hold the lock, as far as this user may see them; ours waits for it."""
    resolved = path.resolve()
    return {pid for pid in pids() if pid != os.getpid() and _holds(pid, resolved)}


def _holds(pid: int, path: Path) -> bool:
    with suppress(OSError):
        for each in (PROC / str(pid) / "fd").iterdir():
            if each.readlink() == path and "FLOCK" in _read(PROC / str(pid) / "fdinfo" / each.name):
                return True
    return False


def _name(pid: int) -> str:
    return _read(PROC / str(pid) / "comm").strip() or "a process"


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""
