"""The path of a batch through one target, from the buffer to each job's next step."""

from __future__ import annotations

import asyncio

from fleet.dispatch.containment import contained
from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.runner.paid import PaidCalls
from fleet.dispatch.runner.slots import Exit, Slots
from fleet.dispatch.runner.stages.passed import Stage
from fleet.dispatch.runner.suspects import Suspects
from fleet.model.target import Target


class BatchRun:
    """Runs batches of one target."""

    def __init__(
        self,
        target: Target,
        slots: Slots,
        leaving: Exit,
        cancel: Stage,
        reserve_cost: Stage,
        suspects: Suspects,
        paid: PaidCalls,
    ) -> None:
        self._target = target
        self._slots = slots
        self._exit = leaving
        self._cancel = cancel
        self._reserve_cost = reserve_cost
        self._suspects = suspects
        self._paid = paid

    async def __call__(self, jobs: list[InFlightJob]) -> None:
        """Run jobs that have their slots, and free all these slots, whatever happens."""
        try:
            with contained("batch_failed", target=self._target.name, jobs=len(jobs)):  # they come back later
                await self._run(jobs)
        finally:
            self._slots.free(jobs)

    async def _run(self, jobs: list[InFlightJob]) -> None:
        for stage in (self._cancel, self._reserve_cost):
            jobs = await self._passed(stage, jobs)
        others, suspects = self._suspects.among(jobs)
        if not suspects:
            await self._paid.run(others)
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._suspects.run(suspects))
            group.create_task(self._paid.run(others))

    async def _passed(self, stage: Stage, jobs: list[InFlightJob]) -> list[InFlightJob]:
        """Put jobs through a stage, send off those that leave there, and return those that continue."""
        passed = await stage(jobs)
        if len(passed.go_on) < len(jobs):
            going_on = {id(each.delivery) for each in passed.go_on}
            left = [each for each in jobs if id(each.delivery) not in going_on]
            await self._exit.leave(left, passed.leaving, passed.patience_seconds)
        return passed.go_on
