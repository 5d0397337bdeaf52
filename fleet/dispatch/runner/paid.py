"""The calls of one target, on record where they are charged for; a call that was begun before is made again alone.

What came back may have crashed its dispatcher, or have been beside what did, and it has one call left (see
`fleet.dispatch.runner.starts`). So of these last calls one runs at a time in a dispatcher, and beside nothing else
that came back: a crash costs at most one job its last call. No faster order keeps that: of two last calls that run
together either may be the one that crashes, and then the other has none left.

The fleet's own models charge for nothing, and what came back to them waits for nobody until it is a suspect (see
`fleet.dispatch.runner.suspects`): a second crash by chance is rare, and a job that waits may miss its deadline.
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
from fleet.dispatch.runner.turns import Turns
from fleet.dispatch.step import Case, Step, on_record
from fleet.interruption import raise_own
from fleet.model.action import Run
from fleet.model.attempt import Attempt, Outcome
from fleet.model.delivery import Ack
from fleet.model.target import Target
from policies.budget import is_charged

log = structlog.get_logger(__name__)


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
        turns: Turns,
    ) -> None:
        self._starts = starts
        self._target = target
        self._office = office
        self._run = run
        self._conclude = conclude
        self._drop = drop
        self._let_go = let_go
        self._turns = turns

    async def run(self, batch: list[Case]) -> None:
        back = [case for case in batch if case.delivery.deliveries > 1]
        if not back:
            await self._run_now(batch)
        elif not is_charged(self._target):
            async with self._office.isolation.at_once():
                await self._run(batch)
        elif not self._office.isolation.is_taken:
            await self._run_in_company(batch)
        else:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._run_now([case for case in batch if case.delivery.deliveries <= 1]))
                group.create_task(self._run_in_company(back))

    async def _run_now(self, cases: list[Case]) -> None:
        await self._repeat(await self._run_first(cases))

    async def _run_in_company(self, cases: list[Case]) -> None:
        async with self._turns.in_company(cases) as ready:
            before = await self._run_first(ready)
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
        if cases:
            await self._turns.alone(cases, 1, self._repeat_alone)

    async def _repeat_alone(self, cases: list[Case]) -> list[Case]:
        [case], now = cases, self._office.clock.now()
        action = look_here_first(self._office, case, self._target.name, self._office.state.view(), now)
        if not isinstance(action, Run) or action.target != self._target.name:  # shut, called off or too late by now
            await self._drop([case], now)
            return []
        begun = await self._recorded(self._starts.repeat, [case])
        if begun.twice:
            await self._conclude([(case, INTERRUPTED) for case in begun.twice], self._office.clock.now())
        if begun.calls:
            await self._run(begun.calls)
        return []

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
        # What another dispatcher's call may have cost is on its own account: these calls were never made.
        give_back = self._office.till.give_back
        await self._forget(give_back(begun.ended), give_back(begun.late))
        return replace(begun, twice=give_back(begun.twice))

    async def _forget(self, ended: Sequence[Case], late: Sequence[Case]) -> None:
        """Acknowledge what came back although its job has its result; a second call that was begun is put on record."""
        if not ended and not late:
            return
        now = self._office.clock.now()
        noted = [on_record(case.after(self._interrupted(case, now)), now) for case in late]
        steps = [*noted, *(Step((), Ack(case.delivery)) for case in ended)]
        await self._office.send([Errand(step, None) for step in steps], ANSWER_SECONDS)
        self._let_go([*ended, *late])

    def _interrupted(self, case: Case, now: float) -> Attempt:
        number, cost = len(case.attempts) + 1, cost_of(case, INTERRUPTED, self._target)
        name, probe, again = self._target.name, case.probe, case.repeated
        return Attempt(number, name, case.reason, now, now, INTERRUPTED, None, cost, None, probe, again)
