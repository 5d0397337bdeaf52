"""Jobs that came back too often: one of them may crash whoever runs it, and its neighbours shall not pay for that.

Each call of a suspect is put on record before it begins. In company first: whoever was in no crash of a recorded call
is cleared with the rest. Then in small groups, and then alone; of groups and those alone one runs at a time in a
dispatcher. A job whose calls alone never ended is the one. It costs a round trip, for suspects only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from fleet.dispatch.office import Errand, Office, job_fields
from fleet.dispatch.runner.starts import Starts
from fleet.dispatch.step import Case
from fleet.model.errors import QueueUnavailable
from fleet.model.target import Target
from policies.budget import is_charged
from policies.resilience.delivery import GROUP_CALL, GROUP_JOBS, MOST_CALLS, is_suspect, too_many

log = structlog.get_logger(__name__)


class Suspects:
    """Those of one target. `run` makes their calls and returns when all have ended."""

    def __init__(
        self,
        starts: Starts,
        target: Target,
        office: Office,
        run: Callable[[list[Case]], Awaitable[None]],
        let_go: Callable[[Sequence[Case]], None],
    ) -> None:
        self._starts = starts
        self._target = target
        self._office = office
        self._run = run
        self._let_go = let_go

    def among(self, cases: list[Case]) -> tuple[list[Case], list[Case]]:
        """The cases that are none, and those that are. Paid calls are all on record (see `starts`)."""
        suspects = [case for case in cases if is_suspect(case.delivery.deliveries, case.job)]
        if not suspects or is_charged(self._target):
            return cases, []
        return [case for case in cases if case not in suspects], suspects

    async def run(self, cases: list[Case]) -> None:
        """Run them all, or end those that have crashed their dispatchers often enough."""
        async with self._office.isolation.for_calls(cases):
            before = await self._begin(cases, 1)
        for first in range(0, len(before), GROUP_JOBS):
            async with self._office.isolation.alone():
                again = await self._begin(before[first : first + GROUP_JOBS], GROUP_CALL)
            for case in again:
                async with self._office.isolation.alone():
                    await self._run_alone(case)

    async def _run_alone(self, case: Case) -> None:
        for call in range(GROUP_CALL + 1, MOST_CALLS + 1):
            if not await self._begin([case], call):
                return
        await self._end(case)

    async def _begin(self, cases: list[Case], call: int) -> list[Case]:
        """Record the calls and make them; those are left whose call was recorded, and never ended, before."""
        if not cases:
            return []
        try:
            new, before = await self._starts.record(cases, self._target, call)
        except QueueUnavailable as error:  # unrecorded calls are not made; their jobs come back when the leases end
            log.warning("suspects_not_recorded", target=self._target.name, jobs=len(cases), error=str(error))
            self._let_go(cases)
            return []
        if call > 1:
            log.warning("suspects_run", target=self._target.name, jobs=len(new), call=call)
        if new:
            await self._run(new)
        return before

    async def _end(self, case: Case) -> None:
        log.error("job_crashes_dispatchers", target=self._target.name, **job_fields(case.delivery, None))
        now, end = self._office.clock.now(), too_many(case.delivery.deliveries, case.attempts)
        try:
            await self._office.send([Errand(self._office.carry_out(case, end, now), case.delivery.traceparent)])
        finally:
            self._let_go([case])
