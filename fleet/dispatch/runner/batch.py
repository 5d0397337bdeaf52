"""The path of a batch through one target, from the buffer to each job's next step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from fleet.dispatch.containment import contained
from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.runner.paid import PaidCalls
from fleet.dispatch.runner.slots import Exit, Slots
from fleet.dispatch.runner.stages.passed import Stage
from fleet.dispatch.runner.suspects import Suspects
from fleet.model.target import Target

MakeCalls = Callable[[list[InFlightJob]], Awaitable[None]]


class RecordedCalls:
    """Makes the calls of a batch, those of suspects apart from all others."""

    def __init__(self, suspects: Suspects, paid: PaidCalls) -> None:
        self._suspects = suspects
        self._paid = paid

    async def __call__(self, jobs: list[InFlightJob]) -> None:
        others, suspects = self._suspects.among(jobs)
        if not suspects:
            await self._paid.run(others)
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._suspects.run(suspects))
            group.create_task(self._paid.run(others))


class BatchRun:
    """Runs batches of one target: through the stages, and then `make_calls`."""

    def __init__(
        self, target: Target, slots: Slots, leaving: Exit, stages: Sequence[Stage], make_calls: MakeCalls
    ) -> None:
        self._target = target
        self._slots = slots
        self._exit = leaving
        self._stages = stages
        self._make_calls = make_calls

    async def __call__(self, jobs: list[InFlightJob]) -> None:
        """Run jobs that have their slots, and free all these slots, whatever happens."""
        try:
            with contained("batch_failed", target=self._target.name, jobs=len(jobs)):  # they come back later
                await self._run(jobs)
        finally:
            self._slots.free(jobs)

    async def _run(self, jobs: list[InFlightJob]) -> None:
        for stage in self._stages:
            jobs = await self._passed(stage, jobs)
        await self._make_calls(jobs)

    async def _passed(self, stage: Stage, jobs: list[InFlightJob]) -> list[InFlightJob]:
        """Put jobs through a stage, send off those that leave there, and return those that continue."""
        passed = await stage(jobs)
        if len(passed.go_on) < len(jobs):
            going_on = {id(each.delivery) for each in passed.go_on}
            left = [each for each in jobs if id(each.delivery) not in going_on]
            await self._exit.leave(left, passed.leaving, passed.patience_seconds)
        return passed.go_on
