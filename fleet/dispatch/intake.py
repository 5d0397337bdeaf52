"""Intake: takes jobs from their lanes and hands each to the first target, or answers it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from fleet.dispatch.office import Errand, Office
from fleet.dispatch.patience import PAUSE_SECONDS, POLL_SECONDS, pause
from fleet.dispatch.step import Case, Step, reject
from fleet.model.delivery import AnyDelivery, JobsOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Job, Lane
from fleet.model.result import Malformed, Work
from fleet.model.view import View

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
        return min(BATCH, self._work_limit - self._office.state.queued_total(self._office.clock.now()))

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
        step = self._step(delivery, view, now)
        return Errand(step, self._office.spans.intake(delivery, now, self._office.clock.now()))

    def _step(self, delivery: AnyDelivery, view: View, now: float) -> Step:
        match delivery.body:
            case Malformed() as bad:
                return reject(delivery, bad, now)
            case Job() as job:
                case = Case.of_job(delivery, job)
                return self._office.carry_out(case, self._office.look(case, view, now), now)
            case Work():
                raise TypeError("the JOBS stream carries jobs, not work")
