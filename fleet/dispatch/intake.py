"""Intake: takes jobs from their lanes and hands each to the first target, or answers it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from fleet import faults
from fleet.dispatch.fair_lane import FairLane
from fleet.dispatch.office import Office
from fleet.dispatch.patience import PAUSE_SECONDS, POLL_SECONDS, pause
from fleet.dispatch.quotas import Quotas
from fleet.dispatch.reception import Reception
from fleet.model.delivery import AnyDelivery, JobsOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import FAIR_LANES, Lane

log = structlog.get_logger(__name__)

BATCH = 256
"""Jobs per hand-over: large enough to share the broker's round trips, small enough to decide within milliseconds."""


class Intake:
    """A loop per lane. Interactive jobs are never held back: there are few of them, and they run first."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._quotas = Quotas(office)
        self._reception = Reception(office)

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._serve(stop))
            for lane in FAIR_LANES:
                group.create_task(FairLane(lane, self._office, self._quotas).run(stop))

    async def _serve(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.handle(await self._office.queue.take(JobsOf(Lane.INTERACTIVE), BATCH, POLL_SECONDS))
            except QueueUnavailable as error:
                log.warning("intake_cannot_reach_the_queue", lane=Lane.INTERACTIVE, error=str(error))
                await pause(stop, PAUSE_SECONDS)

    async def handle(self, deliveries: Sequence[AnyDelivery]) -> None:
        """Decide on every delivery and send the steps off together."""
        if not deliveries:
            return
        faults.point("intake.taken")
        self._office.leases.hold(deliveries)
        view, now = self._office.state.view(), self._office.clock.now()
        for delivery in deliveries:
            self._quotas.charge(delivery)
        await self._office.send([self._reception.answer(delivery, view, now) for delivery in deliveries])
