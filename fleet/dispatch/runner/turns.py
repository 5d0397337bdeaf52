"""Turns for one target's calls that must not be made beside others.

Few jobs wait for their turn in the target's slots, so that new ones find room there. The others wait in the queue,
where they keep neither a slot nor money, and another dispatcher may take them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.receiving.isolation import Isolation
from fleet.dispatch.runner.cost_reservations import CostReservations
from fleet.dispatch.runner.here import TargetDecider
from fleet.dispatch.runner.slots import Exit
from fleet.dispatch.transition import handed_over
from fleet.model.action import Wait
from fleet.model.delivery import Transition
from fleet.model.reason import Reason
from fleet.model.target import Target
from fleet.ports import Clock
from policies.budget import is_charged
from policies.resilience.delivery import SUSPECT_DELIVERIES

WAITING_SHARE = 0.5
"""Share of a target's slots in which jobs may wait for their turn to be alone, those that are alone included."""

TURN_SECONDS = 2.0
"""Wait of the other jobs in the queue before they ask for a turn again."""

Run = Callable[[list[InFlightJob]], Awaitable[list[InFlightJob]]]

LOOK_AGAIN_SECONDS = 1.0
"""Maximum delay in ending a job that is cancelled, or whose deadline passes, while it waits for its turn."""


class Turns:
    """The jobs that wait for their turn at one target."""

    def __init__(
        self,
        target: Target,
        clock: Clock,
        isolation: Isolation,
        decider: TargetDecider,
        reservations: CostReservations,
        leaving: Exit,
    ) -> None:
        self._target = target
        self._clock = clock
        self._isolation = isolation
        self._decider = decider
        self._reservations = reservations
        self._exit = leaving
        self._room = max(1, int(WAITING_SHARE * target.max_in_flight))
        self._waiting: set[int] = set()
        self._draining = False

    def drain(self) -> None:
        """Let the jobs that still wait for their turn wait in the queue, for another dispatcher."""
        self._draining = True

    @asynccontextmanager
    async def in_company(self, jobs: list[InFlightJob]) -> AsyncIterator[list[InFlightJob]]:
        """Yield the jobs that may run now, beside all but those that run alone."""
        if not self._isolation.is_taken:
            async with self._isolation.in_company():
                yield jobs
            return
        async with self._staying(jobs) as here, self._turn(here, self._isolation.in_company()) as ready:
            self._waiting -= _ids(ready)
            yield ready

    async def alone(self, jobs: list[InFlightJob], together: int, run: Run) -> list[InFlightJob]:
        """Run groups of `together` jobs, one group at a time; return what `run` returns for all of them."""
        async with self._staying(jobs) as here, asyncio.TaskGroup() as group:
            firsts = range(0, len(here), together)
            tasks = [group.create_task(self._alone(here[first : first + together], run)) for first in firsts]
        return [each for task in tasks for each in task.result()]

    async def _alone(self, jobs: list[InFlightJob], run: Run) -> list[InFlightJob]:
        async with self._turn(jobs, self._isolation.alone()) as ready:
            return await run(ready) if ready else []

    @asynccontextmanager
    async def _staying(self, jobs: list[InFlightJob]) -> AsyncIterator[list[InFlightJob]]:
        """Yield the jobs that may wait here for their turn; let the others wait in the queue."""
        room = max(0, self._room - len(self._waiting))
        here, later = jobs[:room], jobs[room:]
        self._waiting |= _ids(here)
        try:
            await self._defer(later)
            yield here
        finally:
            self._waiting -= _ids(here)

    @asynccontextmanager
    async def _turn(
        self, jobs: list[InFlightJob], turn: AbstractAsyncContextManager[None]
    ) -> AsyncIterator[list[InFlightJob]]:
        """Take the turn and yield the jobs that still want it."""
        async with AsyncExitStack() as taken:
            waiting = await self._wait(jobs, taken.enter_async_context(turn))
            if self._draining:
                await self._defer(waiting)
                waiting = []
            yield waiting

    async def _wait(self, jobs: list[InFlightJob], turn: Awaitable[None]) -> list[InFlightJob]:
        """Wait for the turn, and meanwhile end the jobs that no longer want it; return the others."""
        waiting, taking = jobs, asyncio.ensure_future(turn)
        try:
            while waiting and not self._draining and not taking.done():
                await asyncio.wait((taking,), timeout=LOOK_AGAIN_SECONDS)
                waiting = await self._still_wanted(waiting)
        finally:
            taking.cancel()
            await asyncio.wait((taking,))
        if not taking.cancelled():
            taking.result()
        return waiting

    async def _still_wanted(self, jobs: list[InFlightJob]) -> list[InFlightJob]:
        now = self._clock.now()
        wanted, unwanted = self._decider.sorted_by_want(jobs, now)
        if unwanted:
            self._waiting -= _ids(unwanted)
            await self._exit.drop(unwanted, now)
        return wanted

    async def _defer(self, jobs: Sequence[InFlightJob]) -> None:
        """Let the jobs wait in the queue."""
        if not jobs:
            return
        jobs = self._reservations.release(jobs)
        now = self._clock.now()
        await self._exit.leave(jobs, [self._deferred(each, now) for each in jobs])

    def _deferred(self, inflight: InFlightJob, now: float) -> Transition:
        """Return the job's wait; a paid call has its own record, so its job gets a new message before being sealed."""
        if is_charged(self._target) and inflight.delivery.deliveries >= SUSPECT_DELIVERIES:
            return handed_over(inflight, self._target.name, Reason.BACKOFF, now)
        return self._decider.transition(inflight, Wait(self._target.name, TURN_SECONDS, Reason.BACKOFF), now)


def _ids(jobs: Iterable[InFlightJob]) -> set[int]:
    """Return ids that tell jobs apart: their deliveries stay the same."""
    return {id(each.delivery) for each in jobs}
