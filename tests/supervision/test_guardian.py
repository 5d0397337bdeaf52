"""Whatever a command has started ends with it, of whatever session, and whoever its parent is by then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest
from patience import PATIENCE_SECONDS, eventually_here
from running_processes import is_running

COMMAND = """
import os, signal, sys
from fleet.supervision import guardian

guardian.owns_process()
guardian.guard()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
reading, writing = os.pipe()
if os.fork() == 0:  # its child is an orphan in a session of its own, as Ray's agents are once the raylet is gone
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN if "deaf" in sys.argv else signal.SIG_DFL)
        os.write(writing, str(os.getpid()).encode())
        os.execvp("sleep", ["sleep", "600"])
    os._exit(0)
os.wait()
print(os.getpid(), os.read(reading, 20).decode(), flush=True)
while True:
    signal.pause()
"""
"""A command that says its own process id, and that of an orphan it has made."""


@dataclass(frozen=True)
class Guarded:
    guardian: subprocess.Popen[str]
    command: int
    orphan: int

    def outcome(self) -> tuple[int, str]:
        """Return the exit code of the guardian, and what it said."""
        _, said = self.guardian.communicate(timeout=PATIENCE_SECONDS)
        return self.guardian.returncode, said


@contextmanager
def guarded(*arguments: str) -> Iterator[Guarded]:
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    command, orphan = map(int, process.stdout.readline().split())
    try:
        yield Guarded(process, command, orphan)
    finally:
        for pid in (process.pid, command, orphan):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.proves("SIGKILL of `fleet up` leaves none of its processes behind", how="real", subject="One machine")
@pytest.mark.parametrize("arguments", [(), ("deaf",)])
def test_what_a_killed_command_started_ends_with_it_and_its_owner_reads_that(arguments: tuple[str, ...]) -> None:
    with guarded(*arguments) as found:
        os.kill(found.command, signal.SIGKILL)
        assert found.outcome() == (137, "fleet: ended by SIGKILL, and what it had started with it\n")
        assert not is_running(found.orphan)


def test_a_command_whose_guardian_is_killed_is_told_to_end() -> None:
    with guarded() as found:
        found.guardian.kill()
        eventually_here(lambda: not is_running(found.command))


def test_a_signal_to_the_guardian_reaches_the_command_whose_exit_code_is_handed_on() -> None:
    with guarded() as found:
        found.guardian.terminate()
        assert found.outcome() == (7, "")
        assert not is_running(found.orphan)


def test_a_guardian_lives_through_the_end_of_the_terminal_and_ends_what_is_left() -> None:
    with guarded() as found:
        found.guardian.send_signal(signal.SIGHUP)
        assert found.outcome() == (129, "fleet: ended by SIGHUP, and what it had started with it\n")
        assert not is_running(found.orphan)
