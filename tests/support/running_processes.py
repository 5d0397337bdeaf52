"""Tells whether a process runs."""

from __future__ import annotations

import psutil


def is_running(pid: int) -> bool:
    """Return whether the process is there and has not ended; nobody may have taken note of its end yet."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
