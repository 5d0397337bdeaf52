"""Reads announced results as soon as they are stored: those that are announced together are asked for together.

The broker announces a result before it has stored it, and also one that it then refuses because the job already has a
result. So an announcement is a hint to look, and only a stored result is handed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fleet.model.errors import QueueUnavailable
from fleet.model.result import Result
from fleet.ports import JobDesk

WIDTH = 100
"""Maximum number of results asked for at once, so that a burst never floods the broker."""

PATIENCE_SECONDS = 5.0
"""Seconds to look for an announced result. A cluster stores within milliseconds; a server that lags catches up."""

FIRST_LOOK_AGAIN_SECONDS = 0.002
LAST_LOOK_AGAIN_SECONDS = 0.25
"""Maximum seconds between two looks; each pause is twice the one before."""


class Looks:
    """Looks for announced results until they are stored, and passes each to `found`, or its job's id to `missed`."""

    def __init__(
        self, desk: JobDesk, found: Callable[[Result], None], missed: Callable[[str], None] = lambda job_id: None
    ) -> None:
        self._desk = desk
        self._found = found
        self._missed = missed
        self._announced: dict[str, None] = {}
        self._looked_for: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(1)

    def soon(self, job_id: str) -> None:
        """Look for the result once all that is announced at this moment has been taken in."""
        if job_id in self._looked_for:
            return
        self._looked_for.add(job_id)
        if not self._announced:
            task = asyncio.create_task(self._look())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._announced[job_id] = None

    async def close(self) -> None:
        """Look no more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> None:
        async with self._room:  # what is announced meanwhile is asked for in the same breath
            burst, self._announced = list(self._announced), {}
            missing = await self._look_once(burst)
        pause, left = FIRST_LOOK_AGAIN_SECONDS, PATIENCE_SECONDS
        while missing and left > 0:
            await asyncio.sleep(pause)
            missing = await self._look_once(missing)
            left -= pause
            pause = min(2 * pause, LAST_LOOK_AGAIN_SECONDS)
        for job_id in missing:
            self._looked_for.discard(job_id)
            self._missed(job_id)

    async def _look_once(self, job_ids: Sequence[str]) -> list[str]:
        """Hand on the results that are stored, and return the ids of the others."""
        missing: list[str] = []
        for start in range(0, len(job_ids), WIDTH):
            some = job_ids[start : start + WIDTH]
            for job_id, result in zip(some, await stored_now(self._desk, some), strict=True):
                if result is None:
                    missing.append(job_id)
                else:
                    self._looked_for.discard(job_id)
                    self._found(result)
        return missing


async def stored_now(desk: JobDesk, job_ids: Sequence[str]) -> Sequence[Result | None]:
    """Return the stored result of each job; None for all of them if the broker is away."""
    try:
        return await desk.stored(job_ids)
    except QueueUnavailable:
        return [None] * len(job_ids)
