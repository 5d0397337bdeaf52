"""Work nobody serves, since a key was removed, a target renamed or a model undeployed: its jobs are planned again."""

from __future__ import annotations

import asyncio

from fleet.dispatch.containment import contained
from fleet.dispatch.decide import Decider
from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.outbox import Outbox
from fleet.dispatch.patience import pause
from fleet.dispatch.receiving.opening import Place
from fleet.dispatch.receiving.receiver import Receiver
from fleet.dispatch.state.lease import Leases
from fleet.dispatch.state.peers import Peers
from fleet.dispatch.state.state import FleetState
from fleet.logs import get_logger
from fleet.model.delivery import AnyDelivery, Retry, Transition, WorkOf
from fleet.model.job import Lane
from fleet.ports import Clock, JobQueue

log = get_logger(__name__)

SWEEP_SECONDS = 5.0
BATCH = 256

GRACE_SECONDS = 30.0
"""Age below which work is left alone: another dispatcher, perhaps a newer one, may know the target."""


class OrphanRescuer:
    """Plans the work of targets that no dispatcher serves. What another serves is never taken, not even to look."""

    def __init__(
        self,
        queue: JobQueue,
        clock: Clock,
        state: FleetState,
        peers: Peers,
        leases: Leases,
        outbox: Outbox,
        receiver: Receiver,
        decider: Decider,
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._state = state
        self._peers = peers
        self._leases = leases
        self._outbox = outbox
        self._receiver = receiver
        self._decider = decider

    async def run(self, stop: asyncio.Event) -> None:
        while not await pause(stop, SWEEP_SECONDS):
            with contained("orphans_not_swept", outage="orphans_not_swept"):
                await self.sweep()
        await self._receiver.finish()

    async def sweep(self) -> None:
        """Take the work that waits for a target that nobody serves, and plan it again."""
        waiting = self._state.orphaned()
        if not any(self._peers.abandoned(target, self._clock.now()) for target in waiting):
            return
        await self._peers.read(waiting)  # it may have come back a moment ago
        self._state.note_elsewhere(self._peers.served, self._peers.away)
        for target in waiting:
            for lane in Lane:
                if self._peers.abandoned(target, self._clock.now()):
                    await self._take_in(WorkOf(target, lane))

    async def _take_in(self, source: WorkOf) -> None:
        deliveries = await self._queue.take(source, BATCH, 0.0)
        if not deliveries:
            return
        self._leases.hold(deliveries)
        if source.target not in self._peers.away:  # of which `targets_away` tells once
            log.warning("orphaned_work", target=source.target, lane=source.lane.value, jobs=len(deliveries))
        now = self._clock.now()
        young = [each for each in deliveries if now - each.stored_at < GRACE_SECONDS]
        await self._outbox.send([_left_alone(each, now) for each in young])
        due = [each for each in deliveries if now - each.stored_at >= GRACE_SECONDS]
        await self._receiver.receive(due, self._placing)

    def _placing(self) -> Place:
        view, now = self._state.view(), self._clock.now()

        def place(inflight: InFlightJob) -> Transition:
            return self._decider.transition(inflight, self._decider.action(inflight, view, now), now)

        return place


def _left_alone(delivery: AnyDelivery, now: float) -> Transition:
    return Transition((), Retry(delivery, GRACE_SECONDS - (now - delivery.stored_at)), delivery.traceparent)
