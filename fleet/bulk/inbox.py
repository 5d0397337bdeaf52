"""Hands each awaited result to whoever waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from fleet.model.errors import QueueUnavailable
from fleet.model.result import Result
from fleet.ports import JobDesk

FIRST_SWEEP_SECONDS = 0.25
"""The subscription may start a moment after a fast answer was stored: the first look comes soon."""

LAST_SWEEP_SECONDS = 5.0
"""A stream that delivers makes sweeps useless, so they grow rare; this bounds the wait after a lost message."""

SWEEP_WIDTH = 100
"""Results asked for at once, so that a sweep never floods the broker."""


class Inbox:
    """Results of known jobs, from the tenant's stream and, where the stream missed one, from the store.

    An outage of the broker only delays results: the stream is opened again and the store asked again.
    """

    def __init__(self, desk: JobDesk, first_sweep_seconds: float = FIRST_SWEEP_SECONDS) -> None:
        self._desk = desk
        self._first_sweep_seconds = first_sweep_seconds
        self._waiting: dict[str, list[asyncio.Future[Result]]] = {}
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    async def __aenter__(self) -> Self:
        """The subscription is on its way before anything the caller publishes next."""
        self._tasks = (asyncio.create_task(self._listen()), asyncio.create_task(self._sweep()))
        await asyncio.sleep(0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for futures in self._waiting.values():
            for future in futures:
                future.cancel()

    @contextmanager
    def expecting(self, job_id: str) -> Iterator[asyncio.Future[Result]]:
        """The result of the job, once there is one; not looked for any more when the context ends."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        futures = self._waiting.setdefault(job_id, [])
        futures.append(future)
        try:
            yield future
        finally:
            futures.remove(future)
            if not futures:
                self._waiting.pop(job_id, None)

    async def _listen(self) -> None:
        while True:
            try:
                async for result in self._desk.results():
                    self._deliver(result)
            except QueueUnavailable:
                pass
            await asyncio.sleep(self._first_sweep_seconds)

    async def _sweep(self) -> None:
        """Ask the store for what is missing: soon again if that found something, ever more rarely if not."""
        pause = self._first_sweep_seconds
        while True:
            await asyncio.sleep(pause)
            found = await self._look_up(list(self._waiting))
            pause = self._first_sweep_seconds if found or not self._waiting else min(2 * pause, LAST_SWEEP_SECONDS)

    async def _look_up(self, job_ids: list[str]) -> bool:
        found = False
        for start in range(0, len(job_ids), SWEEP_WIDTH):
            chunk = job_ids[start : start + SWEEP_WIDTH]
            answers = await asyncio.gather(*map(self._desk.result, chunk), return_exceptions=True)
            for answer in answers:
                found |= isinstance(answer, Result) and self._deliver(answer)
        return found

    def _deliver(self, result: Result) -> bool:
        """Whether anybody was still waiting for it."""
        awaited = [future for future in self._waiting.get(result.job_id, ()) if not future.done()]
        for future in awaited:
            future.set_result(result)
        return bool(awaited)
