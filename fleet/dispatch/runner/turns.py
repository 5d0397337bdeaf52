"""The turns of one target's calls that may not be made beside any other.

Few jobs wait for their turn in the target's slots, so that new ones find room there. The others wait in the queue,
where they keep neither a slot nor money, and another dispatcher may take them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from fleet.dispatch.office import Errand, Office
from fleet.dispatch.step import Case, Step, put_off
from fleet.model.action import Wait
from fleet.model.reason import Reason
from fleet.model.target import Target
from policies.budget import is_charged
from policies.resilience.deadline import deadline_at
from policies.resilience.delivery import SUSPECT_DELIVERIES

WAITING_SHARE = 0.5
"""Of a target's slots: as many jobs may wait for their turn to be alone in them, those that are alone included."""

TURN_SECONDS = 2.0
"""How long the others wait in the queue before they ask again."""

LOOK_AGAIN_SECONDS = 1.0
"""How late the end of a job is that is called off, or whose deadline passes, while it waits for its turn."""


class Turns:
    """What waits for its turn at one target."""

    def __init__(
        self,
        target: Target,
        office: Office,
        drop: Callable[[list[Case], float], Awaitable[None]],
        let_go: Callable[[Sequence[Case]], None],
    ) -> None:
        """`drop` ends jobs whose call has become pointless; `let_go` frees the slots and leases of jobs."""
        self._target = target
        self._office = office
        self._drop = drop
        self._let_go = let_go
        self._room = max(1, int(WAITING_SHARE * target.max_in_flight))
        self._waiting: set[int] = set()
        self._draining = False

    def drain(self) -> None:
        """Let what still waits for its turn wait in the queue, for another dispatcher."""
        self._draining = True

    def wanted(self, cases: list[Case], now: float) -> tuple[list[Case], list[Case]]:
        """The cases for which a call is still of use, and those that were called off or are too late."""
        holds, rules = self._office.cancelling.holds, self._office.rules
        pairs = [(case, not holds(case) and now < deadline_at(case.job, rules)) for case in cases]
        return [case for case, is_wanted in pairs if is_wanted], [case for case, is_wanted in pairs if not is_wanted]

    @asynccontextmanager
    async def in_company(self, cases: list[Case]) -> AsyncIterator[list[Case]]:
        """Give the cases that may run now, beside all but those that are alone."""
        if not self._office.isolation.is_taken:
            async with self._office.isolation.in_company():
                yield cases
            return
        async with self._staying(cases) as here, self._turn(here, self._office.isolation.in_company()) as ready:
            self._waiting -= _ids(ready)
            yield ready

    async def alone(
        self, cases: list[Case], together: int, run: Callable[[list[Case]], Awaitable[list[Case]]]
    ) -> list[Case]:
        """Run groups of so many cases, one group at a time; return what `run` returns of them all."""
        async with self._staying(cases) as here, asyncio.TaskGroup() as group:
            firsts = range(0, len(here), together)
            tasks = [group.create_task(self._alone(here[first : first + together], run)) for first in firsts]
        return [case for task in tasks for case in task.result()]

    async def _alone(self, cases: list[Case], run: Callable[[list[Case]], Awaitable[list[Case]]]) -> list[Case]:
        async with self._turn(cases, self._office.isolation.alone()) as ready:
            return await run(ready) if ready else []

    @asynccontextmanager
    async def _staying(self, cases: list[Case]) -> AsyncIterator[list[Case]]:
        """Give the cases that may wait here for their turn; the others wait in the queue."""
        room = max(0, self._room - len(self._waiting))
        here, later = cases[:room], cases[room:]
        self._waiting |= _ids(here)
        try:
            await self._put_off(later)
            yield here
        finally:
            self._waiting -= _ids(here)

    @asynccontextmanager
    async def _turn(self, cases: list[Case], turn: AbstractAsyncContextManager[None]) -> AsyncIterator[list[Case]]:
        """Take the turn and give the cases that still want it."""
        async with AsyncExitStack() as taken:
            waiting = await self._wait(cases, taken.enter_async_context(turn))
            if self._draining:
                await self._put_off(waiting)
                waiting = []
            yield waiting

    async def _wait(self, cases: list[Case], turn: Awaitable[None]) -> list[Case]:
        """Wait for the turn, and meanwhile end the jobs that do not want it any more; the others are left."""
        waiting, taking = cases, asyncio.ensure_future(turn)
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

    async def _still_wanted(self, cases: list[Case]) -> list[Case]:
        now = self._office.clock.now()
        wanted, unwanted = self.wanted(cases, now)
        if unwanted:
            self._waiting -= _ids(unwanted)
            await self._drop(unwanted, now)
        return wanted

    async def _put_off(self, cases: Sequence[Case]) -> None:
        if not cases:
            return
        cases = self._office.till.give_back(cases)
        now = self._office.clock.now()
        errands = [Errand(self._put_off_step(case, now), case.delivery.traceparent) for case in cases]
        await self._office.send(errands)
        self._let_go(cases)

    def _put_off_step(self, case: Case, now: float) -> Step:
        """A paid call has its own record: its job goes on in a new message before it comes sealed, and ends in time."""
        wait = Wait(self._target.name, TURN_SECONDS, Reason.BACKOFF)
        if is_charged(self._target) and case.delivery.deliveries >= SUSPECT_DELIVERIES:
            return put_off(case, wait, now, anew=True)
        return self._office.carry_out(case, wait, now)


def _ids(cases: Iterable[Case]) -> set[int]:
    """Tell cases apart: their deliveries stay the same."""
    return {id(case.delivery) for case in cases}
