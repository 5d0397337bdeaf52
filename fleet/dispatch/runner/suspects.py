"""Jobs that came back too often: one of them may crash its dispatcher, and its neighbours must not suffer for that.

Each call of a suspect is put on record before it begins. Suspects first run in company: those that were in no crash of
a recorded call are cleared together. The others run in small groups and then alone; a dispatcher runs one group or one
lone job at a time. A job whose lone calls never ended is the culprit. This costs a round trip, for suspects only.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fleet.dispatch.containment import contained, fields_of
from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.runner.here import TargetDecider
from fleet.dispatch.runner.intents import IntentLog
from fleet.dispatch.runner.slots import Exit
from fleet.dispatch.runner.stages.execute import Execute
from fleet.dispatch.runner.turns import Turns
from fleet.logs import get_logger
from fleet.model.target import Target
from fleet.ports import Clock
from policies.budget import is_charged
from policies.resilience.delivery import GROUP_CALL, GROUP_JOBS, MOST_CALLS, is_suspect, too_many

log = get_logger(__name__)


class Suspects:
    """The suspects of one target. `run` makes their calls and returns when all have ended."""

    def __init__(
        self,
        target: Target,
        clock: Clock,
        intents: IntentLog,
        turns: Turns,
        decider: TargetDecider,
        execute: Execute,
        leaving: Exit,
    ) -> None:
        self._target = target
        self._clock = clock
        self._intents = intents
        self._turns = turns
        self._decider = decider
        self._execute = execute
        self._exit = leaving

    def among(self, jobs: list[InFlightJob]) -> tuple[list[InFlightJob], list[InFlightJob]]:
        """Return the jobs that are no suspects, and the suspects. Paid calls are all on record (see `intents`)."""
        suspects = [each for each in jobs if is_suspect(each.delivery.deliveries, each.job)]
        if not suspects or is_charged(self._target):
            return jobs, []
        return [each for each in jobs if not is_suspect(each.delivery.deliveries, each.job)], suspects

    async def run(self, jobs: list[InFlightJob]) -> None:
        """Run all the suspects, or end those that have crashed their dispatchers often enough."""
        if not jobs:
            return
        async with self._turns.in_company(jobs) as ready:
            before = await self._begin(ready, 1)
        before = await self._turns.alone(before, GROUP_JOBS, partial(self._begin, call=GROUP_CALL))
        await self._turns.alone(before, 1, self._run_alone)

    async def _run_alone(self, jobs: list[InFlightJob]) -> list[InFlightJob]:
        for call in range(GROUP_CALL + 1, MOST_CALLS + 1):
            if not await self._begin(jobs, call):
                return []
        for each in jobs:
            await self._end(each)
        return []

    async def _begin(self, jobs: list[InFlightJob], call: int) -> list[InFlightJob]:
        """Record the calls and make them; return the jobs whose call was recorded before and never ended."""
        if not jobs:
            return []
        new, before = list[InFlightJob](), list[InFlightJob]()
        with contained("suspects_not_recorded", outage="suspects_not_recorded", **self._fields(jobs)) as met:
            new, before = await self._intents.record(jobs, call)
        if met.error is not None:  # unrecorded calls are not made; their jobs come back when the leases end
            self._exit.abandon(jobs)
            return []
        if call > 1:
            log.warning("suspects_run", target=self._target.name, jobs=len(new), call=call)
        if new:
            await self._execute(new)
        return before

    async def _end(self, inflight: InFlightJob) -> None:
        log.error("job_crashes_dispatchers", target=self._target.name, **fields_of(inflight.delivery))
        end = too_many(inflight.delivery.deliveries, inflight.attempts)
        await self._exit.leave([inflight], [self._decider.transition(inflight, end, self._clock.now())])

    def _fields(self, jobs: list[InFlightJob]) -> dict[str, Any]:
        return {"target": self._target.name, "jobs": len(jobs)}
