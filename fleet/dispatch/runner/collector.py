"""Takes the work waiting for one target and puts what is to run here into the buffer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from fleet import faults
from fleet.dispatch.containment import contained
from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.intake.lines import LARGE_TAKE_BYTES
from fleet.dispatch.patience import PAUSE_SECONDS, POLL_SECONDS, pause
from fleet.dispatch.receiving.opening import Place
from fleet.dispatch.receiving.precedence import Precedence
from fleet.dispatch.receiving.receiver import Receiver
from fleet.dispatch.runner.buffer import Buffer
from fleet.dispatch.runner.here import TargetDecider
from fleet.dispatch.state.lease import Leases
from fleet.dispatch.state.state import FleetState
from fleet.model.delivery import AnyDelivery, Retry, Transition, WorkOf
from fleet.model.job import Lane
from fleet.model.target import Target
from fleet.ports import Clock, JobQueue
from policies.fairness.batching import may_bring
from policies.resilience.deadline import deadline_at
from policies.rules.rules import Rules

BYTES_PAUSE_SECONDS = 0.05
"""Pause before taking more work while too many bytes are in hand; some jobs end meanwhile."""


class Collector:
    """Takes the work of one target into its buffer."""

    def __init__(
        self,
        target: Target,
        queue: JobQueue,
        clock: Clock,
        rules: Rules,
        state: FleetState,
        leases: Leases,
        receiver: Receiver,
        precedence: Precedence,
        decider: TargetDecider,
        buffer: Buffer,
    ) -> None:
        self._target = target
        self._queue = queue
        self._clock = clock
        self._rules = rules
        self._state = state
        self._leases = leases
        self._receiver = receiver
        self._precedence = precedence
        self._decider = decider
        self._buffer = buffer

    async def run(self, stop: asyncio.Event) -> None:
        """Collect from every lane until `stop` is set, then until all work taken is decided on."""
        async with asyncio.TaskGroup() as group:
            for lane in Lane:
                group.create_task(self._collect(lane, stop))
        await self._receiver.finish()

    async def _collect(self, lane: Lane, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if not await self._collect_once(lane, stop):
                await pause(stop, PAUSE_SECONDS)

    async def _collect_once(self, lane: Lane, stop: asyncio.Event) -> bool:
        leases, targets = self._leases, self._state.traffic.targets
        if not may_bring(lane, leases.bytes_for(self._target.name), leases.work_bytes, len(targets)):
            await pause(stop, BYTES_PAUSE_SECONDS)
            return True
        waiting_for_room = asyncio.ensure_future(self._buffer.wait_for_room(lane))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait((waiting_for_room, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not waiting_for_room.done():
            waiting_for_room.cancel()
            return True
        source = WorkOf(self._target.name, lane)
        with contained("work_not_taken", outage="runner_cannot_reach_the_queue", target=self._target.name, lane=lane):
            await self._precedence.give_way(lane)
            asked = self._wanted(lane)
            if asked <= 0:  # direct jobs came first
                return True
            deliveries = await self._queue.take(source, asked, POLL_SECONDS)
            more = len(deliveries) >= asked or sum(len(each.raw) for each in deliveries) >= LARGE_TAKE_BYTES
            self._state.traffic.taken(source, len(deliveries), more)
            await self.receive(lane, deliveries)
            return True
        return False

    def _wanted(self, lane: Lane) -> int:
        """Return how many jobs to take: those that can start at once, and a micro-batch to be ready after them."""
        name, state = self._target.name, self._state
        startable = 0 if state.replicas.cold(name) else state.free(name, self._clock.now())[lane]
        return max(0, startable) + self._buffer.room(lane)

    async def receive(self, lane: Lane, deliveries: Sequence[AnyDelivery]) -> None:
        """Buffer the jobs that are to run here; send the others off at once."""
        if deliveries:
            faults.point("runner.taken")
            await self._receiver.receive(deliveries, partial(self._placing, lane))

    def _placing(self, lane: Lane) -> Place:
        view, now = self._state.view(), self._clock.now()

        def place(inflight: InFlightJob) -> Transition | None:
            """Put the job into the buffer; return the transition of one that is not to run here."""
            action = self._decider.action(inflight, view, now)
            staying = self._decider.staying(inflight, action, now)
            if staying is None:
                return self._decider.transition(inflight, action, now)
            self._buffer.put(lane, staying, now, deadline_at(inflight.job, self._rules))
            return None

        return place

    async def hand_back(self) -> None:
        """Hand the jobs that only wait here back to the queue."""
        deliveries = [each.delivery for each in await self._buffer.empty()]
        if not deliveries:
            return
        with contained("work_not_handed_back", outage="work_not_handed_back", jobs=len(deliveries)):
            await self._queue.settle([Retry(each) for each in deliveries])
        self._leases.release(deliveries)
