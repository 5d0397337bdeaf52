"""What a process does when it is told to end: by SIGTERM, as from a supervisor, or by SIGINT, as from Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


def when_told_to_end(act: Callable[[], object]) -> None:
    """Have the running loop call `act` whenever the process is told to end, in place of what it called before."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, act)


def cancelled_when_told_to_end(
    at_once: Callable[[], object] = lambda: None, again: Callable[[], object] | None = None
) -> None:
    """Have the running task cancelled when the process is told to end.

    `at_once` is called before that, and `again` when the process is told once more.
    """
    task = asyncio.current_task()
    assert task is not None, "called from a coroutine"

    def act() -> None:
        at_once()
        task.cancel()
        if again is not None:
            when_told_to_end(again)

    when_told_to_end(act)


@contextmanager
def until_told_to_end() -> Iterator[None]:
    """Run the block until the process is told to end, which is no error."""
    cancelled_when_told_to_end()
    with suppress(asyncio.CancelledError):
        yield
