"""A part of the fleet that is a Python process of its own, told to end by SIGTERM."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress

from fleet.supervision.processes import descendants, end, reap
from fleet.supervision.supervisor import how_ended


class Command:
    """Runs `python -m <arguments>` in a session of its own, which holds the descriptor `lock`.

    So Ctrl-C in a terminal does not reach it before the dispatcher has sent its last lines. After its end nothing of
    the session is left.
    """

    def __init__(
        self,
        name: str,
        without: str | None,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        lock: int,
        stop_seconds: float,
        stdin: int = DEVNULL,
        stdout: int | None = None,
    ) -> None:
        self.name = name
        self.without = without
        self._arguments = arguments
        self._environment = environment
        self._lock = lock
        self._stop_seconds = stop_seconds
        self._pipes = {"stdin": stdin, "stdout": stdout}
        self.process: Process | None = None

    async def start(self) -> None:
        """Start it."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *self._arguments,
            env=self._environment,
            start_new_session=True,
            pass_fds=(self._lock,),
            **self._pipes,  # type: ignore[arg-type]  # the stubs know no keyword of several types
        )

    async def ended(self) -> str:
        assert self.process is not None, "it was started"
        how = how_ended(await self.process.wait())
        await self._end_session()
        return how

    async def stop(self) -> None:
        await self.end_within(self._stop_seconds)

    async def end_within(self, seconds: float) -> None:
        """Give it the seconds to finish, then end it; with 0, at once."""
        if self.process is None:
            return
        if seconds and self.process.returncode is None:
            self.process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), seconds)
        await self._end_session()  # first: asyncio waits for the end of its pipes too, which what it left may hold
        await self.process.wait()

    async def _end_session(self) -> None:
        """End what the process has left: nobody else will, and what is started next may need the place."""
        assert self.process is not None, "it was started"
        session = self.process.pid
        await asyncio.to_thread(end, lambda: descendants(session), 0.0)
        reap(session)
