"""What a process does when it is told to end: SIGTERM (a supervisor), SIGINT (Ctrl-C) or SIGHUP (a closed terminal)."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

ASKED: Final = (signal.SIGTERM, signal.SIGINT)


def when_told_to_end(act: Callable[[], object]) -> None:
    """Have the running loop call `act` whenever the process is told to end, in place of what it called before."""
    _call(act, (*ASKED, *_hangup()))


def cancelled_when_told_to_end(
    at_once: Callable[[], object] = lambda: None, again: Callable[[], object] | None = None
) -> None:
    """Have the running task cancelled when the process is told to end.

    `at_once` is called before that, and `again` when the process is told once more.
    A terminal that closes tells it several times, by the shell and by the kernel: that is never taken for once more.
    """
    task = asyncio.current_task()
    assert task is not None, "called from a coroutine"

    def act() -> None:
        at_once()
        task.cancel()
        _call(lambda: None, _hangup())
        if again is not None:
            _call(again, ASKED)

    when_told_to_end(act)


@contextmanager
def until_told_to_end() -> Iterator[None]:
    """Run the block until the process is told to end, which is no error."""
    cancelled_when_told_to_end()
    with suppress(asyncio.CancelledError):
        yield


def _call(act: Callable[[], object], numbers: Iterable[signal.Signals]) -> None:
    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, act)


def _hangup() -> tuple[signal.Signals, ...]:
    """Return SIGHUP, unless the process was started to outlive its terminal, as by `nohup`, or the system has none."""
    if sys.platform == "win32" or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return ()
    return (signal.SIGHUP,)
