"""Hands each awaited result to its waiters as soon as the result can be read back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from fleet.bulk.looking import WIDTH, Looks, stored_now
from fleet.model.errors import QueueUnavailable
from fleet.model.result import Result
from fleet.ports import JobDesk

FIRST_SWEEP_SECONDS = 0.25
"""Seconds until the first sweep: soon, because a fast answer may be stored a moment before the subscription starts."""

LAST_SWEEP_SECONDS = 5.0
"""Maximum seconds between sweeps. They are useless while the stream delivers, and bound the wait if it loses one."""

MOST_TOLD = 10_000
"""Maximum number of jobs remembered as having a result; for older ones, the word of a server that lags is believed."""

Taker = Callable[[Result], None]


class Inbox:
    """Results of known jobs, read from the store once they are announced, and now and then in case they never are.

    An outage of the broker only delays results: the inbox subscribes again and asks the store again.
    """

    def __init__(self, desk: JobDesk, first_sweep_seconds: float = FIRST_SWEEP_SECONDS) -> None:
        self._desk = desk
        self._first_sweep_seconds = first_sweep_seconds
        self._waiting: dict[str, list[Taker]] = {}
        self._futures: set[asyncio.Future[Result]] = set()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        # What an announcement does not bring is left to the sweep: the announced result may have been refused.
        self._looks = Looks(desk, self._deliver)
        self._told: dict[str, None] = {}

    async def __aenter__(self) -> Self:
        """Subscribe before anything that the caller publishes next."""
        self.open()
        await asyncio.sleep(0)
        return self

    def open(self) -> None:
        """Begin to listen as soon as the caller yields to the event loop."""
        self._tasks = (asyncio.create_task(self._listen()), asyncio.create_task(self._sweep()))

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._looks.close()
        for future in self._futures:
            future.cancel()

    def expect(self, job_id: str, taker: Taker) -> None:
        """Call `taker` once with the job's result, unless `forget` comes before it."""
        self._waiting.setdefault(job_id, []).append(taker)

    def forget(self, job_id: str, taker: Taker) -> None:
        takers = self._waiting.get(job_id, [])
        if taker in takers:
            takers.remove(taker)
            if not takers:
                del self._waiting[job_id]

    @contextmanager
    def expecting(self, job_id: str) -> Iterator[asyncio.Future[Result]]:
        """Provide a future for the job's result, which is no longer looked for when the context ends."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

        def take(result: Result) -> None:
            if not future.done():
                future.set_result(result)

        self._futures.add(future)
        self.expect(job_id, take)
        try:
            yield future
        finally:
            self.forget(job_id, take)
            self._futures.discard(future)

    async def stored(self, job_id: str) -> Result | None:
        """Return the stored result, or None if there is none yet. A result handed on before is waited for.

        In a cluster each look may be answered by another server, and one of them may lag.

        Raises: InvalidJob if the id is not valid; QueueUnavailable.
        """
        found = await self._desk.result(job_id)
        if found is None and job_id in self._told:
            found = await self._stored_soon(job_id)
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

    async def _stored_soon(self, job_id: str) -> Result | None:
        """Return the stored result of a job said to have one, or None if it cannot be read in a while."""
        found: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()
        looks = Looks(self._desk, found.set_result, lambda _: found.set_result(None))
        looks.soon(job_id)
        try:
            return await found
        finally:
            await looks.close()

    async def _listen(self) -> None:
        while True:
            with suppress(QueueUnavailable):
                async for job_id in self._desk.announced():
                    if job_id in self._waiting:
                        self._looks.soon(job_id)
            await asyncio.sleep(self._first_sweep_seconds)

    async def _sweep(self) -> None:
        """Ask the store for missing results: soon again if that found something, ever more rarely if not."""
        pause = self._first_sweep_seconds
        while True:
            await asyncio.sleep(pause / 2)
            waiting = list(self._waiting)  # results of those that are expected later are about to be announced
            await asyncio.sleep(pause / 2)
            found = await self._look_up([job_id for job_id in waiting if job_id in self._waiting])
            pause = self._first_sweep_seconds if found or not self._waiting else min(2 * pause, LAST_SWEEP_SECONDS)

    async def _look_up(self, job_ids: list[str]) -> bool:
        found = False
        for start in range(0, len(job_ids), WIDTH):
            for result in await stored_now(self._desk, job_ids[start : start + WIDTH]):
                if result is not None and result.job_id in self._waiting:
                    self._deliver(result)
                    found = True
        return found

    def _deliver(self, result: Result) -> None:
        """Hand the result to its waiters."""
        takers = self._waiting.pop(result.job_id, None)
        if takers is None:
            return
        _remember(self._told, result.job_id)
        for taker in takers:
            taker(result)


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


async def _look_for_announced(desk: JobDesk, on_stored: Taker) -> None:
    seen: dict[str, None] = {}
    looks = Looks(desk, on_stored, lambda job_id: seen.pop(job_id, None))
    try:
        async for job_id in desk.announced():
            if job_id not in seen:
                _remember(seen, job_id)
                looks.soon(job_id)
    finally:
        await looks.close()


def _remember(known: dict[str, None], job_id: str) -> None:
    """Add the job as the latest, and forget the oldest beyond `MOST_TOLD`."""
    known.pop(job_id, None)
    known[job_id] = None
    if len(known) > MOST_TOLD:
        del known[next(iter(known))]
