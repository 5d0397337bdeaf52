"""Intake: takes jobs from their lanes and hands each to the first target, or answers it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from fleet.dispatch.office import Errand, Office
from fleet.dispatch.patience import PAUSE_SECONDS, POLL_SECONDS, pause
from fleet.dispatch.step import AnyDelivery, Case, broken, carry_out, reject
from fleet.model.action import GiveUp
from fleet.model.delivery import JobsOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Job, Lane
from fleet.model.reason import Reason
from fleet.model.result import Malformed, Problem, Status, Work
from fleet.model.view import View
from policies import delivery as delivery_policy

log = structlog.get_logger(__name__)

BATCH = 256
"""Jobs per hand-over: large enough to share the broker's round trips, small enough to decide within milliseconds."""


class Intake:
    """One loop per lane. `work_limit` bounds what waits between intake and the targets."""

    def __init__(self, office: Office, work_limit: int) -> None:
        self._office = office
        self._work_limit = work_limit

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            for lane in Lane:
                group.create_task(self._serve(lane, stop))

    async def _serve(self, lane: Lane, stop: asyncio.Event) -> None:
        while not stop.is_set():
            room = self._room(lane)
            if room <= 0:
                await self._office.state.depths_read()
                continue
            try:
                deliveries = await self._office.queue.take(JobsOf(lane), room, POLL_SECONDS)
                await self.handle(deliveries)
            except QueueUnavailable as error:
                log.warning("intake_cannot_reach_the_queue", lane=lane, error=str(error))
                await pause(stop, PAUSE_SECONDS)

    def _room(self, lane: Lane) -> int:
        # Interactive jobs are never held back by a backlog: there are few of them and they run first.
        if lane is Lane.INTERACTIVE:
            return BATCH
        return min(BATCH, self._work_limit - self._office.state.queued_total)

    async def handle(self, deliveries: Sequence[AnyDelivery]) -> None:
        """Decide on every delivery and send the steps off together."""
        if not deliveries:
            return
        self._office.leases.hold(deliveries)
        view, now = self._office.state.view(), self._office.clock.now()
        errands = [self._errand(delivery, view, now) for delivery in deliveries]
        self._office.state.expect(sum(isinstance(x, Work) for e in errands for x in e.step.letters))
        await self._office.send(errands)

    def _errand(self, delivery: AnyDelivery, view: View, now: float) -> Errand:
        self._office.spans.taken(delivery, now)
        body = delivery.body
        if isinstance(body, Malformed):
            return Errand(reject(delivery, body, now), delivery.traceparent)
        if isinstance(body, Work):
            raise TypeError("the JOBS stream carries jobs, not work")
        return self._plan(Case.of_job(delivery, body), body, view, now)

    def _plan(self, case: Case, job: Job, view: View, now: float) -> Errand:
        try:
            if delivery_policy.exhausted(case.delivery.deliveries, self._office.rules):
                step = carry_out(case, too_many_deliveries(case), now)
            else:
                step = carry_out(case, self._office.decide(case, view, now), now)
        except Exception as error:  # a bug met by one job must not stop its neighbours
            log.exception("intake_failed", job_id=job.id, tenant=job.tenant)
            step = broken(case, error, now)
        return Errand(step, self._office.spans.intake(case, now, self._office.clock.now()))


def too_many_deliveries(case: Case) -> GiveUp:
    problem = Problem(f"handed out {case.delivery.deliveries} times without coming to an end")
    return GiveUp(Status.FAILED, Reason.TOO_MANY_DELIVERIES, problem, dead=True)
