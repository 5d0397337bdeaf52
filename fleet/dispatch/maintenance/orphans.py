"""Work nobody serves: a key was taken away, a target renamed, a model undeployed. Its jobs are planned anew."""

from __future__ import annotations

import asyncio
from functools import partial

import structlog

from fleet.dispatch.intake.opening import Opening, apart
from fleet.dispatch.office import Errand, Office, unread
from fleet.dispatch.patience import pause
from fleet.dispatch.step import Case, Step
from fleet.interruption import raise_own
from fleet.model.delivery import AnyDelivery, Retry, WorkOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from fleet.model.result import Work

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 5.0
BATCH = 256

GRACE_SECONDS = 30.0
"""Younger work is left alone: another dispatcher, a newer one perhaps, may know the target."""


class Orphans:
    """Looks after the work of targets that no dispatcher serves. What another serves is never taken, not to look."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._opening = Opening(office)

    async def run(self, stop: asyncio.Event) -> None:
        while not await pause(stop, SWEEP_SECONDS):
            try:
                await self.sweep()
            except QueueUnavailable as error:
                log.warning("orphans_not_swept", error=str(error))
            except BaseException as error:  # a bug ends one sweep and not the loop
                raise_own(error)
                log.exception("orphans_not_swept")

    async def sweep(self) -> None:
        """Take in what waits for a target that nobody serves."""
        office, waiting = self._office, self._office.state.orphaned()
        if not any(office.peers.abandoned(target, office.clock.now()) for target in waiting):
            return
        await office.peers.read(waiting)  # it may have come back a moment ago
        office.state.note_elsewhere(office.peers.served)
        for target in waiting:
            for lane in Lane:
                if office.peers.abandoned(target, office.clock.now()):
                    await self._take_in(WorkOf(target, lane))

    async def _take_in(self, source: WorkOf) -> None:
        deliveries = await self._office.queue.take(source, BATCH, 0.0)
        if not deliveries:
            return
        self._office.leases.hold(deliveries)
        now = self._office.clock.now()
        log.warning("orphaned_work", target=source.target, lane=source.lane.value, jobs=len(deliveries))
        deliveries, sealed = apart(deliveries)
        if deliveries:
            async with self._office.queue.reading:
                place = partial(self._errand, now=now)
                errands = [errand for each in deliveries if (errand := self._office.guarded(place, each))]
            await self._office.send(errands)
        await self._opening.run(sealed, partial(self._errand, now=now))

    def _errand(self, delivery: AnyDelivery, now: float) -> Errand:
        age_seconds = now - delivery.stored_at
        if age_seconds < GRACE_SECONDS:
            return Errand(Step((), Retry(delivery, GRACE_SECONDS - age_seconds)), delivery.traceparent)
        if not isinstance(delivery.body, Work):
            return Errand(unread(delivery, now), delivery.traceparent)
        case = Case.of_work(delivery, delivery.body)
        action = self._office.look(case, self._office.state.view(), now)
        return Errand(self._office.carry_out(case, action, now), delivery.traceparent)
