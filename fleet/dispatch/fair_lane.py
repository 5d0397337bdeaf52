"""A lane that tenants share: jobs are taken from each in turn, and only as many as their targets have room for.

The backlog stays with the broker, where every tenant has a queue of its own. What was taken and cannot go on (its
target is full, shut or cold) is held here, a few jobs of each tenant, so that the jobs behind them may go elsewhere.
It is held and not handed back: nothing churns, and it goes on as soon as it can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from fleet import faults
from fleet.dispatch.office import Errand, Office
from fleet.dispatch.patience import PAUSE_SECONDS, POLL_SECONDS, pause
from fleet.dispatch.quotas import Quotas
from fleet.dispatch.reception import Reception, case_of
from fleet.dispatch.step import Case
from fleet.model.action import Action, Run, Wait
from fleet.model.delivery import AnyDelivery, JobsOf, Retry
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Malformed
from fleet.model.view import View
from policies import fairness, quotas
from policies.fairness import Grant, Turns

log = structlog.get_logger(__name__)

BATCH = 256
"""Jobs per round: large enough to share the broker's round trips, small enough to decide within milliseconds."""

SLICE = 32
"""Jobs decided on before others get a word in: about two milliseconds."""

WINDOW = 32
"""Jobs of a tenant that may be held because their target has no room."""

LOOK_AGAIN_SECONDS = 1.0
"""A held job is decided on anew after that: its deadline passes, another target opens."""

LONG_POLL_SECONDS = 10.0
LONG_POLL_JOBS = 8
MOST_POLLS = 64
"""Tenants with nothing waiting whose next job is noticed at once; that of others with the next reading."""

REMEMBERED_SECONDS = 600.0
"""How long after its last job a tenant is listened to."""

Look = Callable[[Case, View, float], Action | Exception]
"""Decides on a job: for the first time, or again."""


@dataclass(frozen=True, slots=True)
class Held:
    """A job that cannot go on to `target`, or whose tenant has too much in flight."""

    case: Case
    target: str
    look_again_at: float


@dataclass(slots=True)
class Line:
    """What is known of a tenant's queue: how many jobs it should hold, and how many of them are one too many."""

    waiting: int = 0
    surplus: int = 0
    seen_at: float = 0.0
    held: list[Held] = field(default_factory=list)
    poll: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether there may be something to do once there is room."""
        return bool(self.waiting or self.held or self.surplus)


class FairLane:
    """One lane of one dispatcher."""

    def __init__(self, lane: Lane, office: Office, quotas: Quotas) -> None:
        self._lane = lane
        self._office = office
        self._quotas = quotas
        self._reception = Reception(office)
        self._lines: dict[str, Line] = {}
        self._turns = Turns()
        self._arrived: list[tuple[str, Sequence[AnyDelivery]]] = []
        self._reading = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then hand back what is held."""
        try:
            while not stop.is_set():
                change = self._office.state.next_change()
                if not await self.serve_once():
                    await pause(change, POLL_SECONDS)
        finally:
            await self._close()

    async def serve_once(self) -> bool:
        """Everything that can be done now; whether there was anything."""
        if not (self._note_reading() or self._arrived or any(line.busy for line in self._lines.values())):
            return False
        arrived, self._arrived = self._arrived, []
        for tenant, deliveries in arrived:
            await self._receive(tenant, deliveries, Grant())
        released = await self._release()
        refused = await self._refuse()
        taken = await self._take()
        self._listen()
        return bool(arrived or released or refused or taken)

    def _note_reading(self) -> bool:
        """Learn which tenants have jobs, where there is a new reading. One that is listened to has none to take."""
        state, now = self._office.state, self._office.clock.now()
        if state.readings == self._reading:
            return False
        self._reading = state.readings
        found = {each.tenant: n for each, n in state.traffic.depths.jobs.items() if each.lane is self._lane}
        for tenant, jobs in found.items():
            if tenant is not None:
                line = self._lines.setdefault(tenant, Line())
                line.waiting = 0 if line.poll else max(0, jobs - len(line.held))
                line.surplus = quotas.surplus(self._office.rules.quotas.of(tenant), jobs)
        for tenant, line in list(self._lines.items()):
            if tenant not in found:
                line.waiting = line.surplus = 0
                if not line.held and not line.poll and now - line.seen_at > REMEMBERED_SECONDS:
                    del self._lines[tenant]
        return True

    async def _take(self) -> bool:
        """A round: from each tenant its share of what the targets have room for."""
        self._turns, grants = fairness.allot(self._turns, *self._demand())
        takes = [self._take_from(tenant, grant.jobs) for tenant, grant in grants.items()]
        for (tenant, grant), deliveries in zip(grants.items(), await asyncio.gather(*takes), strict=True):
            line = self._lines[tenant]
            # With all that was asked for there may be more; with less there is not.
            line.waiting = max(1, line.waiting - grant.jobs) if len(deliveries) == grant.jobs else 0
            await self._receive(tenant, deliveries, grant)
        return bool(grants)

    def _demand(self) -> tuple[Mapping[str, int], int]:
        """How many jobs each tenant may be asked for, and how many there is room for in all."""
        rooms = self._office.state.rooms(self._lane, self._office.clock.now())
        traffic = self._office.state.traffic
        room = min(BATCH, sum(room for name, room in rooms.items() if traffic.is_portion(name, self._lane, room)))
        asked = [tenant for tenant, line in self._lines.items() if line.waiting and not line.poll]
        if room <= 0 or not asked:
            return {}, 0
        # So many find room whatever their target is; beyond that each tenant risks no more than its window.
        safe = min(rooms.values()) // len(asked)
        return {tenant: min(self._lines[tenant].waiting, self._most_from(tenant, safe)) for tenant in asked}, room

    def _most_from(self, tenant: str, safe: int) -> int:
        held = len(self._lines[tenant].held)
        allowed = self._quotas.may_take(tenant, held, self._turns.of(tenant).per_job)
        return int(min(BATCH, max(safe, WINDOW - held), allowed))

    async def _take_from(self, tenant: str, jobs: int) -> Sequence[AnyDelivery]:
        try:
            return await self._office.queue.take(JobsOf(self._lane, tenant), jobs, 0.0)
        except QueueUnavailable as error:
            log.warning("intake_cannot_reach_the_queue", lane=self._lane, tenant=tenant, error=str(error))
            return []

    async def _receive(self, tenant: str, deliveries: Sequence[AnyDelivery], grant: Grant) -> None:
        """Put the jobs on the tenant's tab and send them on their way, or hold them."""
        tokens = sum(self._quotas.charge(delivery) for delivery in deliveries)
        self._turns = fairness.book(self._turns, tenant, grant, len(deliveries), tokens)
        if not deliveries:
            return
        faults.point("intake.taken")
        self._lines[tenant].seen_at = self._office.clock.now()
        self._office.leases.hold(deliveries)
        await self._send_on(deliveries, self._reception.first_look)

    async def _send_on(self, deliveries: Sequence[AnyDelivery], look: Look) -> None:
        errands: list[Errand] = []
        for start in range(0, len(deliveries), SLICE):
            now = self._office.clock.now()
            view, rooms = self._office.state.view(), self._office.state.rooms(self._lane, now)
            for delivery in deliveries[start : start + SLICE]:
                errand = self._place(delivery, look, view, rooms, now)
                if errand is not None:
                    errands.append(errand)
            await asyncio.sleep(0)
        if errands:
            await self._office.send(errands)

    def _place(self, delivery: AnyDelivery, look: Look, view: View, rooms: dict[str, int], now: float) -> Errand | None:
        """The errand of a job that can go on; None where it is held."""
        case = case_of(delivery)
        if isinstance(case, Malformed):
            return self._reception.rejection(delivery, case, now)
        action = look(case, view, now)
        if isinstance(action, Run | Wait) and self._must_wait(case, action, rooms):
            self._lines[case.job.tenant].held.append(Held(case, action.target, now + LOOK_AGAIN_SECONDS))
            return None
        if isinstance(action, Run):
            rooms[action.target] -= 1
        return self._reception.errand(case, action, now)

    def _must_wait(self, case: Case, action: Run | Wait, rooms: Mapping[str, int]) -> bool:
        if isinstance(action, Wait):
            return action.reason is not Reason.DELAYED  # what its publisher puts off waits with the broker
        return rooms.get(action.target, 0) <= 0 or not self._quotas.admits(case.job.tenant)

    async def _release(self) -> bool:
        """Decide anew on held jobs: those that have a chance now, and those not looked at for long."""
        now = self._office.clock.now()
        rooms = self._office.state.rooms(self._lane, now)
        holding = [tenant for tenant, line in self._lines.items() if line.held]
        again: list[AnyDelivery] = []
        for tenant in sorted(holding, key=lambda tenant: self._turns.of(tenant).served):
            line, admitted, kept = self._lines[tenant], self._quotas.admits(tenant), []
            for held in line.held:
                has_room = admitted and rooms.get(held.target, 0) > 0
                if has_room or now >= held.look_again_at:
                    again.append(held.case.delivery)
                    if has_room:
                        rooms[held.target] -= 1
                else:
                    kept.append(held)
            line.held = kept
        if again:
            await self._send_on(again, self._reception.look)
        return bool(again)

    async def _refuse(self) -> bool:
        """Answer jobs beyond their tenant's quota; that takes no room at any target."""
        over = [tenant for tenant, line in self._lines.items() if line.surplus and not line.poll]
        takes = [self._take_from(tenant, min(BATCH, self._lines[tenant].surplus)) for tenant in over]
        for tenant, deliveries in zip(over, await asyncio.gather(*takes), strict=True):
            line = self._lines[tenant]
            line.surplus = max(0, line.surplus - len(deliveries)) if deliveries else 0
            line.waiting = max(0, line.waiting - len(deliveries))
            self._office.leases.hold(deliveries)
            now, why = self._office.clock.now(), quotas.refusal(self._office.rules.quotas.of(tenant))
            if deliveries:
                await self._office.send([self._reception.refuse(each, why, now) for each in deliveries])
        return bool(over)

    def _listen(self) -> None:
        """Keep a long poll open for every tenant with nothing to take, so that its next job is noticed at once.

        Also where there is no room: what comes is held, and is first in line then.
        """
        now = self._office.clock.now()
        polls = sum(line.poll is not None for line in self._lines.values())
        for tenant, line in self._lines.items():
            quiet = not line.waiting and not line.poll and now - line.seen_at <= REMEMBERED_SECONDS
            jobs = min(LONG_POLL_JOBS, self._most_from(tenant, 0)) if quiet and polls < MOST_POLLS else 0
            if jobs > 0:
                line.poll = asyncio.create_task(self._await_jobs(tenant, line, jobs))
                polls += 1

    async def _await_jobs(self, tenant: str, line: Line, jobs: int) -> None:
        try:
            deliveries = await self._office.queue.take(JobsOf(self._lane, tenant), jobs, LONG_POLL_SECONDS)
        except QueueUnavailable as error:
            log.debug("tenant_not_listened_to", lane=self._lane, tenant=tenant, error=str(error))
            await asyncio.sleep(PAUSE_SECONDS)
            deliveries = []
        finally:
            line.poll = None  # also after a bug: a tenant with a poll is not taken from in any other way
        if deliveries:
            line.waiting = 1
            self._arrived.append((tenant, deliveries))
        self._office.state.announce()

    async def _close(self) -> None:
        polls = [line.poll for line in self._lines.values() if line.poll]
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
        deliveries = [held.case.delivery for line in self._lines.values() for held in line.held]
        deliveries += [delivery for _, arrived in self._arrived for delivery in arrived]
        try:
            await self._office.queue.settle([Retry(delivery) for delivery in deliveries])
        except QueueUnavailable as error:
            log.warning("jobs_not_handed_back", jobs=len(deliveries), error=str(error))
        self._office.leases.release(deliveries)
