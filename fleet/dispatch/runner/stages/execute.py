"""The stage that makes the calls: each job leaves it by itself, as soon as it has its outcome or is cancelled."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial

from fleet import faults
from fleet.dispatch.containment import contained
from fleet.dispatch.in_flight import InFlightJob, MicroBatch
from fleet.dispatch.maintenance.cancelling import Cancelling
from fleet.dispatch.runner.call import call_of
from fleet.dispatch.runner.here import TargetDecider
from fleet.dispatch.runner.slots import Exit
from fleet.dispatch.runner.stages.assess import Assess
from fleet.dispatch.runner.stages.diet import Diets
from fleet.dispatch.spans import Spans
from fleet.interruption import is_own
from fleet.logs import get_logger
from fleet.model.attempt import Failure, FailureKind
from fleet.model.target import Target
from fleet.ports import Backend, Clock, Recorder
from policies.budget import is_charged
from policies.rules.rules import Rules

log = get_logger(__name__)

NO_ANSWER = Failure(FailureKind.INTERNAL, "the backend ended without an answer")
CALLED_OFF = Failure(FailureKind.CANCELLED, "the job was called off")


class Execute:
    """Makes the calls of one target, and hands each outcome on to `assess`."""

    def __init__(
        self,
        target: Target,
        backend: Backend,
        rules: Rules,
        clock: Clock,
        cancelling: Cancelling,
        spans: Spans,
        decider: TargetDecider,
        leaving: Exit,
        assess: Assess,
        diets: Diets,
        recorder: Recorder | None = None,
    ) -> None:
        self._target = target
        self._backend = backend
        self._rules = rules
        self._clock = clock
        self._cancelling = cancelling
        self._spans = spans
        self._decider = decider
        self._exit = leaving
        self._assess = assess
        self._diets = diets
        self._recorder = recorder
        charged = "_paid" if is_charged(target) else ""
        self._calling, self._answered = f"runner.calling{charged}", f"runner.answered{charged}"

    async def __call__(self, jobs: list[InFlightJob]) -> None:
        """Make the calls and return once every job has left."""
        started_at = self._clock.now()
        wanted, unwanted = self._decider.sorted_by_want(jobs, started_at)
        open_jobs = dict(enumerate(self._diets.prepared(each, self._target, started_at) for each in wanted))
        batch = MicroBatch(started_at, secrets.token_hex(8), len(wanted))
        async with asyncio.TaskGroup() as leaving:
            if unwanted:
                leaving.create_task(self._exit.drop(unwanted, started_at))
            # Nothing may be awaited between that check for cancelled jobs and this watch.
            call_off = partial(self._call_off, open_jobs, leaving, batch)
            with self._cancelling.watching(open_jobs, call_off):
                await self._converse(open_jobs, leaving, batch)

    async def _converse(self, open_jobs: dict[int, InFlightJob], leaving: asyncio.TaskGroup, batch: MicroBatch) -> None:
        """Run the jobs and hand each on as soon as its outcome is there. A cancelled one leaves by itself."""
        jobs = list(open_jobs.values())
        if not jobs:
            return
        if self._recorder is not None:
            self._recorder.batched(self._target.name, len(jobs))
        await self._call(jobs, open_jobs, leaving, batch)
        if open_jobs:
            left = [(each, NO_ANSWER) for each in open_jobs.values()]
            open_jobs.clear()
            await self._assess(left, batch)
        self._spans.ran(jobs, self._target.name, batch, self._clock.now())

    async def _call(
        self,
        jobs: list[InFlightJob],
        open_jobs: dict[int, InFlightJob],
        leaving: asyncio.TaskGroup,
        batch: MicroBatch,
    ) -> None:
        task = asyncio.current_task()
        try:
            faults.point(self._calling)
            calls = [call_of(each, self._target, batch.started_at, self._rules) for each in jobs]
            async for group in self._backend.run(calls):
                faults.point(self._answered)
                done = [(open_jobs.pop(index), outcome) for index, outcome in group if index in open_jobs]
                if done:
                    leaving.create_task(self._assess(done, batch))
        except BaseException as error:  # a backend never raises; if one does, its jobs must still end
            if is_own(error, task):
                raise
            log.exception("backend_raised", target=self._target.name)

    def _call_off(
        self, open_jobs: dict[int, InFlightJob], leaving: asyncio.TaskGroup, batch: MicroBatch, index: int
    ) -> None:
        """End a running job: free its slot at once and stop its call at the backend, without waiting for that."""
        inflight = open_jobs.pop(index, None)
        if inflight is not None:
            leaving.create_task(self._assess([(inflight, CALLED_OFF)], batch))
            leaving.create_task(self._stop(inflight))

    async def _stop(self, inflight: InFlightJob) -> None:
        with contained("call_not_stopped", target=self._target.name):  # if a backend raises, only its work is wasted
            await self._backend.stop([inflight.call_id])
