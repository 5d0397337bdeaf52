"""The calls of one target, on record where they are charged for; a call that was begun before is made again alone.

What came back may have crashed its dispatcher, or have been beside what did, and it has one call left (see
`fleet.dispatch.runner.starts`). So of these last calls one runs at a time in a dispatcher, and beside nothing else
that came back: a crash costs at most one job its last call. Few wait here for their turn; the others wait in the
queue, where they keep neither a slot nor money, and another dispatcher may take them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog

from fleet import faults
from fleet.dispatch.maintenance.elsewhere import look_here_first
from fleet.dispatch.office import Errand, Office
from fleet.dispatch.patience import ANSWER_SECONDS
from fleet.dispatch.runner.starts import INTERRUPTED, Begun, Starts
from fleet.dispatch.runner.till import cost_of
from fleet.dispatch.step import Case, Step, on_record
from fleet.interruption import raise_own
from fleet.model.action import Run, Wait
from fleet.model.attempt import Attempt, Outcome
from fleet.model.delivery import Ack
from fleet.model.reason import Reason
from fleet.model.target import Target

log = structlog.get_logger(__name__)

WAITING_SHARE = 0.5
"""Of a target's slots: as many jobs may wait for their turn in them."""

TURN_SECONDS = 2.0
"""How long the others wait in the queue before they ask again."""


class PaidCalls:
    """`run` makes the calls of a batch and returns when all have ended. Those of targets that cost nothing pass."""

    def __init__(
        self,
        starts: Starts,
        target: Target,
        office: Office,
        run: Callable[[list[Case]], Awaitable[None]],
        conclude: Callable[[Sequence[tuple[Case, Outcome]], float], Awaitable[None]],
        drop: Callable[[list[Case], float], Awaitable[None]],
        let_go: Callable[[Sequence[Case]], None],
    ) -> None:
        self._starts = starts
        self._target = target
        self._office = office
        self._run = run
        self._conclude = conclude
        self._drop = drop
        self._let_go = let_go
        self._room = max(1, int(WAITING_SHARE * target.max_in_flight))
        self._draining = False

    def drain(self) -> None:
        """Let what still waits for its turn wait in the queue, for another dispatcher."""
        self._draining = True

    async def run(self, batch: list[Case]) -> None:
        new, back = self._office.isolation.apart(batch)
        if not back:
            await self._run_now(new)
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_now(new))
            group.create_task(self._run_in_turn(back))

    async def _run_now(self, cases: list[Case]) -> None:
        async with self._office.isolation.for_calls(cases):
            before = await self._run_first(cases)
        await self._repeat(before)

    async def _run_in_turn(self, cases: list[Case]) -> None:
        """Make the calls of jobs that came back while somebody is alone."""
        here = await self._stay(cases)
        async with self._office.isolation.in_company():
            self._room += len(here)
            if self._draining:
                await self._put_off(here)
                return
            before = await self._run_first(here)
        await self._repeat(before)

    async def _run_first(self, cases: list[Case]) -> list[Case]:
        """Make the calls; those are left whose call was begun before."""
        begun = await self._recorded(self._starts.begin, cases)
        if begun.calls:
            await self._run(begun.calls)
        return begun.before

    async def close(self, ended: list[Case]) -> None:
        """Acknowledge jobs that have their result, so that nobody begins a second call for them."""
        await self._forget(*await self._starts.close(ended, self._target))

    async def _repeat(self, cases: list[Case]) -> None:
        """Make the second calls, one by one."""
        for case in await self._stay(cases):
            async with self._office.isolation.alone():
                self._room += 1
                await (self._put_off([case]) if self._draining else self._repeat_alone(case))

    async def _stay(self, cases: list[Case]) -> list[Case]:
        """The cases that may wait here for their turn; the others wait in the queue."""
        room = max(0, self._room)
        here, later = cases[:room], cases[room:]
        self._room -= len(here)
        if later:
            await self._put_off(later)
        return here

    async def _repeat_alone(self, case: Case) -> None:
        now = self._office.clock.now()
        action = look_here_first(self._office, case, self._target.name, self._office.state.view(), now)
        if not isinstance(action, Run) or action.target != self._target.name:  # shut, called off or too late by now
            await self._drop([case], now)
            return
        begun = await self._recorded(self._starts.repeat, [case])
        if begun.twice:
            failed = [(replace(case, deposit=None), INTERRUPTED) for case in begun.twice]
            await self._conclude(failed, self._office.clock.now())
        if begun.calls:
            await self._run(begun.calls)

    async def _recorded(self, record: Callable[[list[Case], Target], Awaitable[Begun]], cases: list[Case]) -> Begun:
        """Put the calls on record; those whose job has its result are done with."""
        try:
            begun = await record(cases, self._target)
            faults.point("start.recorded")
        except BaseException as error:  # unrecorded calls are not made; their jobs come back when the leases end
            raise_own(error)
            log.warning("paid_calls_not_recorded", target=self._target.name, jobs=len(cases), error=str(error))
            self._office.till.give_back(cases)
            self._let_go(cases)
            return Begun([])
        self._office.till.give_back([*begun.twice, *begun.ended, *begun.late])
        await self._forget(begun.ended, begun.late)
        return begun

    async def _forget(self, ended: Sequence[Case], late: Sequence[Case]) -> None:
        """Acknowledge what came back although its job has its result; a second call that was begun is put on record."""
        if not ended and not late:
            return
        now = self._office.clock.now()
        noted = [on_record(case.after(self._interrupted(case, now)), now) for case in late]
        steps = [*noted, *(Step((), Ack(case.delivery)) for case in ended)]
        try:
            await self._office.send([Errand(step, None) for step in steps], ANSWER_SECONDS)
        finally:
            self._let_go([*ended, *late])

    def _interrupted(self, case: Case, now: float) -> Attempt:
        number, cost = len(case.attempts) + 1, cost_of(case, INTERRUPTED, self._target)
        name, probe, again = self._target.name, case.probe, case.repeated
        return Attempt(number, name, case.reason, now, now, INTERRUPTED, None, cost, None, probe, again)

    async def _put_off(self, cases: Sequence[Case]) -> None:
        self._office.till.give_back(cases)
        now, wait = self._office.clock.now(), Wait(self._target.name, TURN_SECONDS, Reason.BACKOFF)
        try:
            errands = [Errand(self._office.carry_out(case, wait, now), case.delivery.traceparent) for case in cases]
            await self._office.send(errands)
        finally:
            self._let_go(cases)
