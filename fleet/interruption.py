"""Whose end an exception means: this task's own, or only that of what it waits for."""

from __future__ import annotations

import asyncio
from typing import Any


def is_own(error: BaseException, task: asyncio.Task[Any] | None) -> bool:
    """Whether `error`, caught by `task`, ends the task itself and is to be raised again.

    It is where somebody has cancelled the task, or closes it from outside, and Ctrl-C is for everybody. Any other
    CancelledError, GeneratorExit or SystemExit came out of what the task called, and is an error like all the others.
    """
    if isinstance(error, KeyboardInterrupt) or task is None or asyncio.current_task() is not task:
        return True
    return isinstance(error, asyncio.CancelledError) and task.cancelling() > 0


def raise_own(error: BaseException) -> None:
    """Raise it again if it ends the running task (see `is_own`); to be called where it was caught."""
    if is_own(error, asyncio.current_task()):
        raise error
