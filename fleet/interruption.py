"""Tells an exception that ends this task from one that only ended what the task waits for."""

from __future__ import annotations

import asyncio
from typing import Any


def is_own(error: BaseException, task: asyncio.Task[Any] | None) -> bool:
    """Return whether `error`, caught by `task`, ends the task itself and must be raised again.

    It does if somebody has cancelled the task or closes it from outside; Ctrl-C ends every task. Any other
    CancelledError, GeneratorExit or SystemExit came out of what the task called, and is an error like all the others.
    """
    if isinstance(error, KeyboardInterrupt) or task is None or asyncio.current_task() is not task:
        return True
    return isinstance(error, asyncio.CancelledError) and task.cancelling() > 0


def ends_running_task(error: BaseException) -> bool:
    """Whether it ends the running task (see `is_own`)."""
    return is_own(error, asyncio.current_task())


def raise_own(error: BaseException) -> None:
    """Raise `error` again if it ends the running task; call this where it was caught."""
    if ends_running_task(error):
        raise error
