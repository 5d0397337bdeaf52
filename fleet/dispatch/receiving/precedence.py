"""Interactive jobs go first: the next steps of the other lanes wait while a step of an interactive job is under way.

All steps of a dispatcher share one thread, so a step of an interactive job waits for all those that are ready before
it; beside a flood of bulk jobs there are always many. A wait of the other lanes is bounded: a steady stream of
interactive jobs delays them and never stops them. Nobody waits here with a lock that an interactive job may need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fleet.model.job import Lane

GIVE_WAY_SECONDS = 0.1
"""Maximum wait of one step of another lane: longer than a burst of interactive jobs takes from arrival to start."""

NEXT_STEP_SECONDS = 0.005
"""Time for which the other lanes go on waiting after a step: the job's next one begins a broker's round trip later."""


class Precedence:
    """The steps of interactive jobs that are under way."""

    def __init__(self) -> None:
        self._steps = 0
        self._over = asyncio.Event()
        self._over.set()
        self._line = asyncio.Lock()
        self._ending: asyncio.TimerHandle | None = None

    @contextmanager
    def step(self, lane: Lane) -> Iterator[None]:
        """Let the other lanes wait while a step of the interactive lane is under way, and shortly after it."""
        if lane is not Lane.INTERACTIVE:
            yield
            return
        self._begin()
        try:
            yield
        finally:
            self._end()

    def _begin(self) -> None:
        self._steps += 1
        self._over.clear()
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    def _end(self) -> None:
        self._steps -= 1
        if not self._steps:
            self._ending = asyncio.get_running_loop().call_later(NEXT_STEP_SECONDS, self._over.set)

    async def give_way(self, lane: Lane) -> None:
        """Wait for the steps of the interactive lane, if this is another one.

        Those that wait go on one by one, each in a turn of the loop: the next step of an interactive job waits for one
        of them and not for all.
        """
        if lane is Lane.INTERACTIVE or (self._over.is_set() and not self._line.locked()):
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVE_WAY_SECONDS), self._line:
                await self._over.wait()
