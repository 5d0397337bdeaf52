"""Starts a batch whenever the buffer has one and the target a slot, and sends off what is no longer to run here."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.outbox import Outbox
from fleet.dispatch.patience import pause
from fleet.dispatch.runner.batch import BatchRun
from fleet.dispatch.runner.buffer import Buffer
from fleet.dispatch.runner.here import TargetDecider
from fleet.dispatch.runner.slots import Slots
from fleet.dispatch.state.state import FleetState
from fleet.model.delivery import Transition
from fleet.model.target import Target
from fleet.ports import Clock

LOOK_AGAIN_SECONDS = 1.0
"""Time after which a job that waits for a replica is decided on again: its deadline nears, another target gets warm."""


class Feeder:
    """Runs batches of one target from its buffer."""

    def __init__(
        self,
        target: Target,
        clock: Clock,
        state: FleetState,
        outbox: Outbox,
        decider: TargetDecider,
        buffer: Buffer,
        slots: Slots,
        run_batch: BatchRun,
    ) -> None:
        self._target = target
        self._clock = clock
        self._state = state
        self._outbox = outbox
        self._decider = decider
        self._buffer = buffer
        self._slots = slots
        self._run_batch = run_batch
        self._batches: set[asyncio.Task[None]] = set()
        self._was_cold, self._was_shut = False, (False, False)
        state.replicas.tell(buffer.changed.set)

    async def run(self) -> None:
        """Feed the target until cancelled."""
        while True:
            now = self._clock.now()
            if await self._stands_by(now):
                await self._something_changes(LOOK_AGAIN_SECONDS)
                continue
            await self._heeds_breaker(now)
            if overdue := await self._buffer.overdue(now):
                self._conclude_late(overdue, now)
            name, state, traffic = self._target.name, self._state, self._state.traffic
            free = state.free(name, now)
            batch = await self._buffer.next_batch(free, traffic.in_flight(name) == 0, now)
            if batch:
                self._start(batch)
                continue
            moments = (self._buffer.due_in(free, now), self._buffer.overdue_in(now), state.opens_in(name, now))
            await self._something_changes(min((moment for moment in moments if moment is not None), default=None))

    async def _stands_by(self, now: float) -> bool:
        """Return whether the target is cold; decide again on what waits here while it is, and once when it is warm."""
        cold = self._state.replicas.cold(self._target.name)
        if cold or self._was_cold:
            await self._look_again(now)
        self._was_cold = cold
        return cold

    async def _heeds_breaker(self, now: float) -> None:
        """Decide again on what waits here whenever the target is shut or opened."""
        shut = self._state.shut(self._target.name, now)
        if shut != self._was_shut:
            self._was_shut = shut
            await self._look_again(now)

    async def _look_again(self, now: float) -> None:
        view, leaving = self._state.view(), list[Transition]()

        def look(inflight: InFlightJob) -> InFlightJob | None:
            found = self._decider.revised(inflight, view, now)
            if isinstance(found, InFlightJob):
                return found
            leaving.append(found)
            return None

        await self._buffer.revise(look)
        if leaving:
            self._in_background(self._outbox.send(leaving))

    async def _something_changes(self, within_seconds: float | None) -> None:
        if within_seconds is None:
            await self._buffer.changed.wait()
        else:
            await pause(self._buffer.changed, within_seconds)
        self._buffer.changed.clear()

    def _conclude_late(self, jobs: list[InFlightJob], now: float) -> None:
        """End the jobs whose deadline has passed while they waited for a slot."""
        view = self._state.view()
        self._in_background(self._outbox.send([self._decider.next_transition(each, view, now) for each in jobs]))

    def _start(self, batch: list[InFlightJob]) -> None:
        self._slots.take(batch)
        self._in_background(self._run_batch(batch))

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)

    async def finish(self) -> None:
        """Wait for the batches that run."""
        await asyncio.gather(*self._batches)
