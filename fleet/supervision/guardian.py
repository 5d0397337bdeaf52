"""Ends all that a command has started once the command has ended, in whatever way: SIGKILL too.

A command that starts processes calls `guard` first, which forks. The child is the command. The parent stays as its
guardian, under the process id that the user knows: it hands on signals, waits, and when the command is gone ends what
is left below it. Orphans of any session become children of the guardian, so Ray's agents and an engine's workers are
found as well. A guardian that dies has the command told to end. Elsewhere than on Linux there is no guardian.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Final, NoReturn

from fleet.supervision.processes import adopt_orphans, descendants, end, end_with_parent

GRACE_SECONDS: Final = 3.0
"""Seconds that what a command left behind has to end: a broker closes its store, the ledger's writer its lines."""

HANDED_ON: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""A terminal that is closed sends the last of these, and the guardian must live through it."""

FROM_KERNEL: Final = 0
"""A signal whose code is above this is the terminal's, which sends it to the command as well."""

_is_own_process = False


def owns_process() -> None:
    """Say that this process runs nothing but a command, so that `guard` may fork it."""
    global _is_own_process
    _is_own_process = True


def guard() -> None:
    """Go on in a child of this process, which waits as its guardian. In a process that runs more, do nothing."""
    if not _is_own_process or sys.platform != "linux":
        return
    sys.stdout.flush()
    sys.stderr.flush()
    adopt_orphans()
    awaited = {*HANDED_ON, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    guardian, command = os.getpid(), os.fork()
    if command:
        _wait_and_end(command, awaited)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    end_with_parent(guardian)
    adopt_orphans()  # so that the command can end what one of its parts has left


def _wait_and_end(command: int, awaited: set[signal.Signals]) -> NoReturn:
    status = None
    while status is None:
        told = signal.sigwaitinfo(awaited)
        if told.si_signo in HANDED_ON and told.si_code <= FROM_KERNEL:
            os.kill(command, told.si_signo)
        status = _reap(command)
    if status < 0:
        os.write(2, f"fleet: ended by {signal.Signals(-status).name}, and what it had started with it\n".encode())
    end(_left, GRACE_SECONDS)
    _reap(command)
    os._exit(status if status >= 0 else 128 - status)


def _left() -> set[int]:
    _reap(0)
    return descendants()


def _reap(command: int) -> int | None:
    """Take note of all children that have ended; return the exit code of the command, once it is among them."""
    code = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == command:
                code = os.waitstatus_to_exitcode(ended[1])
    return code
