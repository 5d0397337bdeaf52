"""The calls to one target, recorded if the target charges for them; a call that was begun before is repeated alone.

A job that came back may have crashed its dispatcher, or have run beside one that did, and it has one call left (see
`fleet.dispatch.runner.intents`). So a dispatcher makes these last calls one at a time, and beside no other job that
came back: a crash costs at most one job its last call. No faster order ensures that: if two last calls ran together,
either could crash the dispatcher, and the other job would have none left.

The fleet's own models charge nothing, and jobs that came back to them wait for nobody until they are suspects (see
`fleet.dispatch.runner.suspects`): a second crash by chance is rare, and a job that waits may miss its deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from fleet import faults
from fleet.dispatch.containment import contained
from fleet.dispatch.in_flight import InFlightJob, MicroBatch
from fleet.dispatch.patience import ANSWER_SECONDS
from fleet.dispatch.receiving.isolation import Isolation
from fleet.dispatch.runner.cost_reservations import CostReservations
from fleet.dispatch.runner.here import TargetDecider
from fleet.dispatch.runner.intents import INTERRUPTED, IntentLog, Recorded
from fleet.dispatch.runner.slots import Exit
from fleet.dispatch.runner.stages.assess import Assess
from fleet.dispatch.runner.stages.execute import Execute
from fleet.dispatch.runner.turns import Turns
from fleet.dispatch.state.state import FleetState
from fleet.model.target import Target
from fleet.ports import Clock
from policies.budget import is_charged


class PaidCalls:
    """Makes the calls of a batch and returns when all have ended. Calls to targets that charge nothing just pass."""

    def __init__(
        self,
        target: Target,
        clock: Clock,
        state: FleetState,
        isolation: Isolation,
        intents: IntentLog,
        turns: Turns,
        reservations: CostReservations,
        decider: TargetDecider,
        execute: Execute,
        assess: Assess,
        leaving: Exit,
    ) -> None:
        self._target = target
        self._clock = clock
        self._state = state
        self._isolation = isolation
        self._intents = intents
        self._turns = turns
        self._reservations = reservations
        self._decider = decider
        self._execute = execute
        self._assess = assess
        self._exit = leaving

    async def run(self, jobs: list[InFlightJob]) -> None:
        back = [each for each in jobs if each.delivery.deliveries > 1]
        if not back:
            await self._run_now(jobs)
        elif not is_charged(self._target):
            async with self._isolation.at_once():
                await self._execute(jobs)
        elif not self._isolation.is_taken:
            await self._run_in_company(jobs)
        else:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._run_now([each for each in jobs if each.delivery.deliveries <= 1]))
                group.create_task(self._run_in_company(back))

    async def _run_now(self, jobs: list[InFlightJob]) -> None:
        await self._repeat(await self._run_first(jobs))

    async def _run_in_company(self, jobs: list[InFlightJob]) -> None:
        async with self._turns.in_company(jobs) as ready:
            before = await self._run_first(ready)
        await self._repeat(before)

    async def _run_first(self, jobs: list[InFlightJob]) -> list[InFlightJob]:
        """Make the calls; return the jobs whose call was begun before."""
        recorded = await self._recorded(self._intents.begin, jobs)
        if recorded.may_call:
            await self._execute(recorded.may_call)
        return recorded.begun_before

    async def _repeat(self, jobs: list[InFlightJob]) -> None:
        """Make the second calls, one by one."""
        if jobs:
            await self._turns.alone(jobs, 1, self._repeat_alone)

    async def _repeat_alone(self, jobs: list[InFlightJob]) -> list[InFlightJob]:
        [inflight], now = jobs, self._clock.now()
        action = self._decider.action(inflight, self._state.view(), now)
        if not self._decider.runs_here(action):  # shut, cancelled or too late by now
            await self._exit.drop(jobs, now)
            return []
        recorded = await self._recorded(self._intents.repeat, jobs)
        if recorded.exhausted:
            await self._assess([(each, INTERRUPTED) for each in recorded.exhausted], MicroBatch(self._clock.now()))
        if recorded.may_call:
            await self._execute(recorded.may_call)
        return []

    async def _recorded(
        self, record: Callable[[list[InFlightJob]], Awaitable[Recorded]], jobs: list[InFlightJob]
    ) -> Recorded:
        """Put the calls on record; end the jobs that have their result."""
        recorded = Recorded([])
        with contained(
            "paid_calls_not_recorded", outage="paid_calls_not_recorded", target=self._target.name, jobs=len(jobs)
        ) as met:
            recorded = await record(jobs)
            faults.point("start.recorded")
        if met.error is not None:  # unrecorded calls are not made; their jobs come back when the leases end
            self._exit.abandon(jobs)
            return Recorded([])
        # What another dispatcher's call may have cost is under its own deposit: these calls were never made.
        release = self._reservations.release
        await self._leave(release(recorded.answered), release(recorded.answered_late))
        return replace(recorded, exhausted=release(recorded.exhausted))

    async def _leave(self, answered: list[InFlightJob], late: list[InFlightJob]) -> None:
        if answered or late:
            closing = self._intents.closing(answered, late)
            await self._exit.leave([*answered, *late], closing, ANSWER_SECONDS)
