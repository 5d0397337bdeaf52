"""A lane that tenants share: jobs are taken from each in turn, and only as many as their targets have room for.

The backlog stays with the broker, where every tenant has a queue of its own. Jobs that were taken and cannot continue
(their target is full, shut or cold) are held here, a few per tenant, so that the jobs behind them may go elsewhere.
They are held and not handed back: nothing churns, and they continue as soon as they can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from fleet import faults
from fleet.dispatch.containment import contained
from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.intake.admission import Admission
from fleet.dispatch.intake.asking import STRANGERS_AT_ONCE, Asking
from fleet.dispatch.intake.direct import DirectEntry
from fleet.dispatch.intake.lines import MOST_HOLDING, Lines, ParkedJob
from fleet.dispatch.intake.listening import Listening
from fleet.dispatch.intake.quotas import Quotas
from fleet.dispatch.intake.refusals import Refusals
from fleet.dispatch.patience import PAUSE_SECONDS, POLL_SECONDS, pause
from fleet.dispatch.receiving.opening import Place
from fleet.dispatch.receiving.precedence import Precedence
from fleet.dispatch.receiving.receiver import Receiver
from fleet.dispatch.state.lease import Leases
from fleet.dispatch.state.state import FleetState
from fleet.interruption import raise_own
from fleet.logs import get_logger
from fleet.model.action import Action, Run, Wait
from fleet.model.delivery import Ack, AnyDelivery, JobsOf, Retry, Transition
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.target import EXACT, SEMANTIC
from fleet.model.view import View
from fleet.ports import Clock, JobQueue
from policies.fairness import round_robin as fairness
from policies.fairness.round_robin import Booking, Grant, TenantTabs
from policies.resilience.deadline import deadline_at
from policies.rules.rules import Rules

log = get_logger(__name__)

TAKES_AT_ONCE = 32
"""Tenants asked at a time. Each may bring a message of the maximum size, whatever size was seen before."""

HAND_BACK_SECONDS = 0.25
"""Min interval between rounds that hand back the jobs of STRANGERS_AT_ONCE tenants, so that others get a look."""

MOST_REST_SECONDS = 60.0
"""Maximum time a tenant whose jobs were handed back is left alone while their target has no room."""

LOOK_AGAIN_SECONDS = 1.0
"""Time after which a held job is decided on again: its deadline may have passed, or another target opened."""

QUIET_SECONDS = 60.0
"""Interval between log lines about a broker that refuses."""

Look = Callable[[InFlightJob, View, float], Action]
"""Decides on a job, for the first time or again."""


class FairLane:
    """A dispatcher's intake of one lane."""

    def __init__(
        self,
        lane: Lane,
        queue: JobQueue,
        clock: Clock,
        rules: Rules,
        state: FleetState,
        leases: Leases,
        receiver: Receiver,
        precedence: Precedence,
        admission: Admission,
        direct: DirectEntry,
        quotas: Quotas,
        lines: Lines,
        asking: Asking,
        refusals: Refusals,
    ) -> None:
        self._lane = lane
        self._queue = queue
        self._clock = clock
        self._rules = rules
        self._state = state
        self._leases = leases
        self._receiver = receiver
        self._precedence = precedence
        self._admission = admission
        self._direct = direct
        self._quotas = quotas
        self._lines = lines
        self._asking = asking
        self._refusals = refusals
        self._listening = Listening(lane, queue, clock, state, lines, self._complain)
        self._turns = TenantTabs()
        self._reading = 0
        self._handed_back_at = 0.0
        self._landings = 0
        self._warned_at = -QUIET_SECONDS

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then hand back what is held."""
        try:
            while not stop.is_set():
                change = self._state.next_change()
                if not await self._serve_on():
                    await pause(change, POLL_SECONDS)
        finally:
            await self._close()

    async def _serve_on(self) -> bool:
        with contained("intake_round_failed", lane=self._lane):  # what was in hand comes back when its leases end
            return await self.serve_once()
        await asyncio.sleep(PAUSE_SECONDS)
        return True

    async def hear(self) -> None:
        """Note every job as it comes in, where the broker announces them, until cancelled."""
        while True:
            with contained("arrivals_not_heard", lane=self._lane):  # the depths show new jobs meanwhile
                async for source in self._queue.arrivals():
                    self._heard(source)
            await asyncio.sleep(PAUSE_SECONDS)

    def _heard(self, source: JobsOf) -> None:
        if source.tenant is not None and source.lane is self._lane:
            line = self._lines.of(source.tenant)
            line.announce()
            if line.waiting == 1:
                self._state.announce()

    async def serve_once(self) -> bool:
        """Do everything that can be done now; return whether there was anything."""
        if not (self._note_reading() or self._listening.has_brought or self._lines.busy):
            return False
        arrived = await self._receive_arrived()
        released = await self._release()
        refused = await self._refusals.carry_out(self._take_from)
        await self._relieve()
        taken = await self._take()
        holding = len(self._lines.holding())
        self._listening.listen(lambda tenant: self._asking.most_from(tenant, 0, holding, self._turns))
        return arrived or released or refused or taken

    async def _receive_arrived(self) -> bool:
        arrived = self._listening.brought()
        await self._receive([(tenant, Grant(), deliveries) for tenant, deliveries in arrived])
        return bool(arrived)

    def _note_reading(self) -> bool:
        """Learn which tenants have jobs, where there is a new reading."""
        state, now = self._state, self._clock.now()
        if state.readings == self._reading:
            return False
        self._reading = state.readings
        jobs = state.traffic.depths.jobs
        found = {each.tenant: n for each, n in jobs.items() if each.lane is self._lane and each.tenant is not None}
        for each, running in state.traffic.direct_at_reading.items():
            if each.lane is self._lane and each.tenant in found:
                found[each.tenant] = max(0, found[each.tenant] - running)  # they are stored, and do not wait
        self._lines.count(found, now)
        self._refusals.note()
        return True

    async def _take(self) -> bool:
        """Take one round: from each tenant its share of what the targets have room for."""
        self._turns, grants = fairness.allot(self._turns, *self._asking.demand(self._turns, self._clock.now()))
        allotted = list(grants.items())
        for start in range(0, len(allotted), TAKES_AT_ONCE):
            await self._precedence.give_way(self._lane)
            with self._precedence.step(self._lane):
                await self._take_together(allotted[start : start + TAKES_AT_ONCE])
        return bool(grants)

    async def _take_together(self, asked: Sequence[tuple[str, Grant]]) -> None:
        takes = await asyncio.gather(*(self._take_from(tenant, grant.jobs) for tenant, grant in asked))
        now = self._clock.now()
        for (tenant, grant), deliveries in zip(asked, takes, strict=True):
            size = sum(len(delivery.raw) for delivery in deliveries)
            self._lines[tenant].asked(grant.jobs, len(deliveries), size, now)
        await self._receive([(*each, deliveries) for each, deliveries in zip(asked, takes, strict=True)])
        await self._receive_arrived()

    async def _take_from(self, tenant: str, jobs: int) -> Sequence[AnyDelivery]:
        try:
            return await self._queue.take(JobsOf(self._lane, tenant), jobs, 0.0)
        except BaseException as error:  # a bug met by one tenant must not keep the others waiting
            raise_own(error)
            self._complain(tenant, error)
            return []

    def _complain(self, tenant: str, error: BaseException) -> None:
        now = self._clock.now()
        if now - self._warned_at >= QUIET_SECONDS:
            self._warned_at = now
            why = str(error) if isinstance(error, QueueUnavailable) else type(error).__name__
            log.warning("intake_cannot_reach_the_queue", lane=self._lane, tenant=tenant, error=why)

    async def _receive(self, taken: Sequence[tuple[str, Grant, Sequence[AnyDelivery]]]) -> None:
        """Charge the jobs to their tenants and send them on their way, or hold them."""
        bookings = [
            Booking(tenant, grant, len(deliveries), sum(self._quotas.charge(delivery) for delivery in deliveries))
            for tenant, grant, deliveries in taken
        ]
        self._turns = fairness.book_all(self._turns, bookings)
        together = [delivery for _, _, deliveries in taken for delivery in deliveries]
        if not together:
            return
        faults.point("intake.taken")
        now = self._clock.now()
        for tenant, _, deliveries in taken:
            if deliveries:
                line = self._lines.of(tenant)
                line.seen_at = now
                line.job_bytes = sum(len(delivery.raw) for delivery in deliveries) / len(deliveries)
        await self._receiver.receive(
            together,
            partial(self._placing, self._admission.first_look),
            partial(self._placing, self._admission.first_look, self._quotas.charge),
        )

    def _placing(self, look: Look, charge: Callable[[AnyDelivery], object] | None = None) -> Place:
        now = self._clock.now()
        view, rooms = self._state.view(), self._state.rooms(self._lane, now)
        direct = self._direct.rooms(self._lane, now)

        def place(inflight: InFlightJob) -> Transition | None:
            if charge is not None:
                charge(inflight.delivery)
            return self._place(inflight, look(inflight, view, now), rooms, direct, now)

        return place

    def _place(
        self, inflight: InFlightJob, action: Action, rooms: dict[str, int], direct: dict[str, int], now: float
    ) -> Transition | None:
        """Return the transition of a job that can continue and is not run at once; hold the others and return None."""
        job = inflight.job
        line = self._lines.of(job.tenant)
        line.came(job.id)
        if isinstance(action, Wait) and action.reason is Reason.DELAYED:
            line.delay(job.id, min(now + action.seconds, deadline_at(job, self._rules)))
        elif isinstance(action, Run | Wait) and self._must_wait(inflight, action, rooms):
            line.hold(ParkedJob(inflight, action.target, now + LOOK_AGAIN_SECONDS), now)
            return None
        inflight = self._admission.going_on(inflight)
        if isinstance(action, Run):
            if self._direct.repeats(inflight, now):
                return Transition((), Ack(inflight.delivery), inflight.delivery.traceparent)
            rooms[action.target] -= 1
            if self._direct.put(inflight, action, direct, now):
                direct[action.target] -= 1
                return None
        return self._admission.transition(inflight, action, now)

    def _must_wait(self, inflight: InFlightJob, action: Run | Wait, rooms: Mapping[str, int]) -> bool:
        if isinstance(action, Wait):
            return True
        if rooms.get(action.target, 0) <= 0 or not self._state.traffic.has_space(self._lane):
            return True
        return not self._quotas.admits(inflight.job.tenant, self._lane)

    async def _release(self) -> bool:
        """Decide again on held jobs that may have room now and on those that have not been checked for long."""
        now = self._clock.now()
        rooms = self._state.rooms(self._lane, now)
        again: list[AnyDelivery] = []
        landed, self._landings = self._admission.landings != self._landings, self._admission.landings
        for tenant in sorted(self._lines.holding(), key=self._turns.served_to):
            line, admitted, kept = self._lines[tenant], self._quotas.admits(tenant, self._lane), []
            for held in line.held:
                has_room = admitted and rooms.get(held.target, 0) > 0
                if has_room or now >= held.look_again_at or (landed and held.target in (EXACT, SEMANTIC)):
                    again.append(held.inflight.delivery)
                    if has_room:
                        rooms[held.target] -= 1
                else:
                    kept.append(held)
            line.held = kept
        if again:
            await self._receiver.receive(again, partial(self._placing, self._admission.look))
        return bool(again)

    async def _relieve(self) -> None:
        """Hand back held jobs over the limits. Over the byte limit: the last job of the tenant with the most bytes."""
        holding, now = self._lines.holding(), self._clock.now()
        over, back = -self._asking.bytes_left(), list[AnyDelivery]()
        sizes = {tenant: self._lines[tenant].held_bytes for tenant in holding} if over > 0 else {}
        while over > 0 and any(sizes.values()):
            tenant = max(sizes, key=lambda tenant: sizes[tenant])
            delivery = self._let_go(tenant, 1, now)[0]
            back.append(delivery)
            over -= len(delivery.raw)
            sizes[tenant] -= len(delivery.raw)
        rooms = self._state.rooms(self._lane, now)
        if len(holding) >= MOST_HOLDING and now - self._handed_back_at >= HAND_BACK_SECONDS:
            others = any(not line.held and line.may_be_asked(rooms, now) for _, line in self._lines)
            self._handed_back_at = now
            for tenant in sorted(holding, key=lambda tenant: self._lines[tenant].held_since)[:STRANGERS_AT_ONCE]:
                back += self._let_go(tenant, len(self._lines[tenant].held), now) if others else ()
        await self._hand_back(back)

    def _let_go(self, tenant: str, jobs: int, now: float) -> list[AnyDelivery]:
        """Take the tenant's last jobs out of those held; it rests longer the more tenants there are."""
        line = self._lines[tenant]
        kept, going = line.held[: len(line.held) - jobs], line.held[len(line.held) - jobs :]
        if going:
            line.held, line.rests_for = kept, going[0].target
            line.rests_until = now + min(MOST_REST_SECONDS, max(1.0, len(self._lines) / MOST_HOLDING))
            line.waiting += len(going)
        return [held.inflight.delivery for held in going]

    async def _hand_back(self, deliveries: Sequence[AnyDelivery]) -> None:
        if not deliveries:
            return
        try:
            await self._queue.settle([Retry(delivery) for delivery in deliveries])
        except QueueUnavailable as error:
            log.warning("jobs_not_handed_back", jobs=len(deliveries), error=str(error))
        self._leases.release(deliveries)

    async def _close(self) -> None:
        await self._receiver.finish()
        await self._listening.close()
        held = [held.inflight.delivery for _, line in self._lines for held in line.held]
        await self._hand_back([*held, *(delivery for _, brought in self._listening.brought() for delivery in brought)])
