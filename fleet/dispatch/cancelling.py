"""Jobs that are called off: those that wait are answered at once, those that run are stopped, the rest is let go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog

from fleet.dispatch.patience import PAUSE_SECONDS, pause, until_stopped
from fleet.dispatch.step import Case
from fleet.model.cancellation import Cancellation
from fleet.model.delivery import Post
from fleet.model.errors import QueueUnavailable
from fleet.model.result import Result, Status
from fleet.ports import Cancels, Clock, JobQueue
from policies.cancellation import CANCELLED

log = structlog.get_logger(__name__)

KEPT_SECONDS = 86_400.0
MOST_KEPT = 100_000
"""What a dispatcher remembers. A job forgotten too early would run, and its result be refused: its money is lost."""

GRACE_SECONDS = 0.1
"""Before answering a job that does not run here: whoever runs it knows what it has cost, and shall come first."""


class Cancelling:
    """What one dispatcher knows to be called off."""

    def __init__(self, cancels: Cancels, queue: JobQueue, clock: Clock) -> None:
        self._cancels = cancels
        self._queue = queue
        self._clock = clock
        self._called_off: dict[Cancellation, float] = {}
        self._running: dict[Cancellation, list[Callable[[], None]]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    def holds(self, case: Case) -> bool:
        """Whether the job is called off; a comparison is, with the job it belongs to."""
        return bool(self._called_off) and _key(case) in self._called_off  # most of the time there is none

    async def answered(self, cases: Sequence[Case]) -> Sequence[bool]:
        """Which of the jobs have their result already. Raises QueueUnavailable."""
        found = await self._cancels.outcomes([Cancellation(case.job.tenant, case.job.id) for case in cases])
        return [status is not None for status in found]

    @contextmanager
    def watching(self, cases: Mapping[int, Case], call_off: Callable[[int], None]) -> Iterator[None]:
        """Until the block ends, call with the index of a job that is called off, to end it at once."""
        registered = [(_key(case), lambda index=index: call_off(index)) for index, case in cases.items()]
        for key, stop in registered:
            self._running.setdefault(key, []).append(stop)
        try:
            yield
        finally:
            for key, stop in registered:
                self._running[key].remove(stop)
                if not self._running[key]:
                    del self._running[key]

    async def watch(self, stop: asyncio.Event) -> None:
        """Follow the wishes until `stop` is set."""
        await until_stopped(self._follow(stop), stop, self._answering)

    async def _follow(self, stop: asyncio.Event) -> None:
        async for cancellations in self._cancels.follow():
            waiting = self.take(cancellations)
            if waiting:
                task = asyncio.create_task(self._answer_in_a_moment(waiting, stop))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)

    def take(self, cancellations: Sequence[Cancellation]) -> list[Cancellation]:
        """Remember the new ones and stop what runs of them; those of them that do not run here."""
        now = self._clock.now()
        self._forget(now)
        fresh = [each for each in cancellations if each not in self._called_off]
        self._called_off |= dict.fromkeys(fresh, now)
        self._forget(now)
        for each in fresh:
            for stop in list(self._running.get(each, ())):
                stop()
        return [each for each in fresh if each not in self._running]

    def _forget(self, now: float) -> None:
        """The oldest come first."""
        surplus = len(self._called_off) - MOST_KEPT
        for number, (each, at) in enumerate(list(self._called_off.items())):
            if number >= surplus and at > now - KEPT_SECONDS:
                return
            del self._called_off[each]

    async def _answer_in_a_moment(self, waiting: Sequence[Cancellation], stop: asyncio.Event) -> None:
        await pause(stop, GRACE_SECONDS)
        while True:
            try:
                return await self._answer(waiting)
            except QueueUnavailable as error:
                log.warning("cancelled_jobs_not_answered", jobs=len(waiting), error=str(error))
            if await pause(stop, PAUSE_SECONDS):
                return None  # the wishes are stored: the next dispatcher reads them anew

    async def _answer(self, waiting: Sequence[Cancellation]) -> None:
        """Publish the results of those that have none. A job that has another one is not called off after all."""
        found = await self._cancels.outcomes(waiting)
        now = self._clock.now()
        open_ = [each for each, status in zip(waiting, found, strict=True) if status is None]
        await self._queue.publish([Post(_result(each, now)) for each in open_])
        for each, status in zip(waiting, await self._cancels.outcomes(waiting), strict=True):
            if status is not Status.CANCELLED:
                self._called_off.pop(each, None)
                log.info("cancelled_too_late", job_id=each.job_id, tenant=each.tenant, status=status)


def _key(case: Case) -> Cancellation:
    return Cancellation(case.job.tenant, case.job.id if case.shadow is None else case.shadow.job_id)


def _result(each: Cancellation, now: float) -> Result:
    return Result(each.job_id, each.tenant, CANCELLED.status, CANCELLED.reason, now, problem=CANCELLED.problem)
