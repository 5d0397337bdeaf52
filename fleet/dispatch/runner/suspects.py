"""Jobs that came back too often: one of them may crash whoever runs it, and its neighbours shall not pay for that.

Each call of a suspect is put on record before it begins. In company first: whoever was in no crash of a recorded call
is cleared with the rest. Then in small groups, and then alone; of groups and those alone one runs at a time in a
dispatcher. A job whose calls alone never ended is the one. It costs a round trip, for suspects only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from fleet.dispatch.office import Errand, Office, job_fields
from fleet.dispatch.runner.starts import Starts
from fleet.dispatch.runner.turns import Turns
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
        turns: Turns,
    ) -> None:
        self._starts = starts
        self._target = target
        self._office = office
        self._run = run
        self._let_go = let_go
        self._turns = turns

    def among(self, cases: list[Case]) -> tuple[list[Case], list[Case]]:
        """The cases that are none, and those that are. Paid calls are all on record (see `starts`)."""
        suspects = [case for case in cases if is_suspect(case.delivery.deliveries, case.job)]
        if not suspects or is_charged(self._target):
            return cases, []
        return [case for case in cases if case not in suspects], suspects

    async def run(self, cases: list[Case]) -> None:
        """Run them all, or end those that have crashed their dispatchers often enough."""
        if not cases:
            return
        async with self._turns.in_company(cases) as ready:
            before = await self._begin(ready, 1)
        before = await self._turns.alone(before, GROUP_JOBS, partial(self._begin, call=GROUP_CALL))
        await self._turns.alone(before, 1, self._run_alone)

    async def _run_alone(self, cases: list[Case]) -> list[Case]:
        for call in range(GROUP_CALL + 1, MOST_CALLS + 1):
            if not await self._begin(cases, call):
                return []
        for case in cases:
            await self._end(case)
        return []

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
        await self._office.send([Errand(self._office.carry_out(case, end, now), case.delivery.traceparent)])
        self._let_go([case])
