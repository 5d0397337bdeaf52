"""Hands each awaited result to its waiters as soon as the result can be read back.

The broker announces a result before it has stored it, and also one that it then refuses because the job already has a
result. So an announcement is a hint to look, and only a stored result is handed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from fleet.model.errors import InvalidJob, QueueUnavailable
from fleet.model.result import Result
from fleet.ports import JobDesk

FIRST_SWEEP_SECONDS = 0.25
"""Seconds until the first sweep: soon, because a fast answer may be stored a moment before the subscription starts."""

LAST_SWEEP_SECONDS = 5.0
"""Maximum seconds between sweeps. They are useless while the stream delivers, and bound the wait if it loses one."""

SWEEP_WIDTH = 100
"""Maximum number of results asked for at once, so that a sweep never floods the broker."""

PATIENCE_SECONDS = 5.0
"""Seconds to look for an announced result. A cluster stores within milliseconds; a server that lags catches up."""

FIRST_LOOK_AGAIN_SECONDS = 0.002
LAST_LOOK_AGAIN_SECONDS = 0.25
"""Maximum seconds between two looks; each pause is twice the one before."""

MOST_TOLD = 10_000
"""Maximum number of jobs remembered as having a result; for older ones, the word of a server that lags is believed."""


class Inbox:
    """Results of known jobs, read from the store once they are announced, and now and then in case they never are.

    An outage of the broker only delays results: the inbox subscribes again and asks the store again.
    """

    def __init__(self, desk: JobDesk, first_sweep_seconds: float = FIRST_SWEEP_SECONDS) -> None:
        self._desk = desk
        self._first_sweep_seconds = first_sweep_seconds
        self._waiting: dict[str, list[asyncio.Future[Result]]] = {}
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, None] = {}

    async def __aenter__(self) -> Self:
        """Subscribe before anything that the caller publishes next."""
        self.open()
        await asyncio.sleep(0)
        return self

    def open(self) -> None:
        """Begin to listen as soon as the caller yields to the event loop."""
        self._tasks = (asyncio.create_task(self._listen()), asyncio.create_task(self._sweep()))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = (*self._tasks, *self._looking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for futures in self._waiting.values():
            for future in futures:
                future.cancel()

    @contextmanager
    def expecting(self, job_id: str) -> Iterator[asyncio.Future[Result]]:
        """Provide a future for the job's result, which is no longer looked for when the context ends."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        futures = self._waiting.setdefault(job_id, [])
        futures.append(future)
        try:
            yield future
        finally:
            futures.remove(future)
            if not futures:
                self._waiting.pop(job_id, None)

    async def stored(self, job_id: str) -> Result | None:
        """Return the stored result, or None if there is none yet. A result handed on before is waited for.

        In a cluster each look may be answered by another server, and one of them may lag.

        Raises: InvalidJob if the id is not valid; QueueUnavailable.
        """
        found = await self._desk.result(job_id)
        if found is None and job_id in self._told:
            found = await stored_soon(self._desk, job_id)
        if found is None:
            self._told.pop(job_id, None)
        else:
            _remember(self._told, job_id)
        return found

    async def results(self) -> AsyncIterator[Result]:
        """Yield every result of the tenant that is stored after the iterator is first awaited, each once."""
        async for result in stored_results(self._desk):
            _remember(self._told, result.job_id)
            yield result

    async def _listen(self) -> None:
        while True:
            with suppress(QueueUnavailable):
                async for announced in self._desk.results():
                    self._look_soon(announced.job_id)
            await asyncio.sleep(self._first_sweep_seconds)

    def _look_soon(self, job_id: str) -> None:
        if job_id in self._waiting and job_id not in self._looking:
            task = self._looking[job_id] = asyncio.create_task(self._look(job_id))
            task.add_done_callback(lambda _: self._looking.pop(job_id, None))

    async def _look(self, job_id: str) -> None:
        """Deliver the result if stored soon, else leave it to the sweep: the announced one may have been refused."""
        found = await stored_soon(self._desk, job_id)
        if found is not None:
            self._deliver(found)

    async def _sweep(self) -> None:
        """Ask the store for missing results: soon again if that found something, ever more rarely if not."""
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
        """Hand the result to its waiters; return whether there were any."""
        awaited = [future for future in self._waiting.get(result.job_id, ()) if not future.done()]
        for future in awaited:
            future.set_result(result)
            _remember(self._told, result.job_id)
        return bool(awaited)


async def stored_soon(desk: JobDesk, job_id: str) -> Result | None:
    """Return the stored result of a job said to have one, or None if it cannot be read within `PATIENCE_SECONDS`."""
    pause, left = FIRST_LOOK_AGAIN_SECONDS, PATIENCE_SECONDS
    while True:
        found = await _stored_now(desk, job_id)
        if found is not None or left <= 0:
            return found
        await asyncio.sleep(pause)
        left -= pause
        pause = min(2 * pause, LAST_LOOK_AGAIN_SECONDS)


async def _stored_now(desk: JobDesk, job_id: str) -> Result | None:
    """Return the stored result; None also if the broker is away or an announced id is not valid."""
    with suppress(QueueUnavailable, InvalidJob):
        return await desk.result(job_id)
    return None


async def stored_results(desk: JobDesk) -> AsyncIterator[Result]:
    """Yield each result once, as it is stored, from the moment the iterator is first awaited.

    Raises: QueueUnavailable if the connection breaks, because some results may have been missed.
    """
    found: asyncio.Queue[Result | None] = asyncio.Queue()
    announcing = asyncio.create_task(_look_for_announced(desk, found.put_nowait))
    announcing.add_done_callback(lambda _: found.put_nowait(None))
    try:
        while (result := await found.get()) is not None:
            yield result
        announcing.result()
    finally:
        announcing.cancel()
        await asyncio.gather(announcing, return_exceptions=True)


async def _look_for_announced(desk: JobDesk, on_stored: Callable[[Result], None]) -> None:
    room, seen = asyncio.Semaphore(SWEEP_WIDTH), dict[str, None]()
    looks: set[asyncio.Task[None]] = set()

    async def look(job_id: str) -> None:
        async with room:
            result = await stored_soon(desk, job_id)
        if result is None:
            seen.pop(job_id, None)
        else:
            on_stored(result)

    try:
        async for announced in desk.results():
            if announced.job_id not in seen:
                _remember(seen, announced.job_id)
                task = asyncio.create_task(look(announced.job_id))
                looks.add(task)
                task.add_done_callback(looks.discard)
    finally:
        for task in looks:
            task.cancel()


def _remember(known: dict[str, None], job_id: str) -> None:
    """Add the job as the latest, and forget the oldest beyond `MOST_TOLD`."""
    known.pop(job_id, None)
    known[job_id] = None
    if len(known) > MOST_TOLD:
        del known[next(iter(known))]
