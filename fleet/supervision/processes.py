"""Finds and ends the processes that descend from one, as /proc tells; on a system without it there are none."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

PROC: Final = Path("/proc")

LOOK_SECONDS: Final = 0.02
"""Seconds between two looks at processes that were told to end."""

KILLED_SECONDS: Final = 10.0
"""Seconds until a killed process is gone, unless it hangs in the kernel, where nobody can end it."""

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36


class _Stat(NamedTuple):
    parent: int
    session: int
    is_zombie: bool


def descendants(session: int | None = None) -> set[int]:
    """Return the living processes below this one; with `session`, those of that session."""
    found = dict(_all())
    ours, layer = set[int](), {os.getpid()}
    while layer:
        layer = {pid for pid, stat in found.items() if stat.parent in layer} - ours
        ours |= layer
    return {pid for pid in ours if not found[pid].is_zombie and session in (None, found[pid].session)}


def reap(session: int) -> None:
    """Take note of the ends of adopted processes of the session: nobody else will, and each keeps its process id."""
    for pid, stat in _all():
        if stat.is_zombie and stat.session == session and stat.parent == os.getpid():
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def end(look: Callable[[], Collection[int]], grace_seconds: float) -> None:
    """Have all processes that `look` finds end; kill those that are left after the grace, and what they start."""
    _signal(look(), signal.SIGTERM)
    told_at = time.monotonic()
    while found := look():
        passed = time.monotonic() - told_at
        if passed > grace_seconds + KILLED_SECONDS:
            return
        if passed >= grace_seconds:
            _signal(found, signal.SIGKILL)
        time.sleep(LOOK_SECONDS)


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ends (Linux)."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(parent: int) -> None:
    """Have this process told to end (SIGTERM) when the thread that forked it does; at once if that has ended."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _signal(pids: Collection[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _all() -> Iterator[tuple[int, _Stat]]:
    for pid in pids():
        with suppress(OSError):
            # A name may hold any character; after its last parenthesis come state, parent, group and session.
            stat = Path(PROC, str(pid), "stat").read_bytes()
            state, parent, _, session = stat.rpartition(b")")[2].split()[:4]
            yield pid, _Stat(int(parent), int(session), state == b"Z")


def pids() -> list[int]:
    """Return the ids of all processes."""
    return [int(each.name) for each in PROC.iterdir() if each.name.isdigit()] if PROC.is_dir() else []
