"""A lane that tenants share: jobs are taken from each in turn, and only as many as their targets have room for.

The backlog stays with the broker, where every tenant has a queue of its own. What was taken and cannot go on (its
target is full, shut or cold) is held here, a few jobs of each tenant, so that the jobs behind them may go elsewhere.
It is held and not handed back: nothing churns, and it goes on as soon as it can.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain

import structlog

from fleet import faults
from fleet.dispatch.intake.lines import MOST_HELD, MOST_HOLDING, WINDOW, Held, Line, Lines
from fleet.dispatch.intake.listening import Listening
from fleet.dispatch.intake.opening import Opening, apart
from fleet.dispatch.intake.quotas import Quotas
from fleet.dispatch.intake.reception import Reception, case_of
from fleet.dispatch.intake.refusals import Refusals
from fleet.dispatch.office import Errand, Office
from fleet.dispatch.patience import PAUSE_SECONDS, POLL_SECONDS, pause
from fleet.dispatch.step import Case
from fleet.interruption import raise_own
from fleet.model.action import Action, Run, Wait
from fleet.model.delivery import AnyDelivery, JobsOf, Retry
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Malformed
from fleet.model.view import View
from policies.fairness import round_robin as fairness
from policies.fairness.round_robin import Booking, Grant, Turns
from policies.resilience.deadline import deadline_at

log = structlog.get_logger(__name__)

BATCH = 256
"""Jobs per round: large enough to share the broker's round trips, small enough to decide within milliseconds."""

SLICE = 32
"""Jobs decided on before others get a word in: about two milliseconds."""

HELD_BYTES = 32 * 1024 * 1024
"""What the jobs in hand that have no target yet take, as they were sent, over all lanes; parsed it is twice as much."""

TAKES_AT_ONCE = 32
"""Tenants asked at a time. Each may bring a message of the largest size, whatever is known of it."""

MOST_ASKED = 64
"""Tenants asked in one round: whoever comes next waits for no more."""

STRANGERS_AT_ONCE = 8
"""Tenants asked in a round though jobs of enough others are held: theirs may be for a target that has room."""

HAND_BACK_SECONDS = 0.25
"""So often that many tenants' jobs are handed back, so that those of others are looked at."""

MOST_REST_SECONDS = 60.0
"""How long a tenant whose jobs were handed back is left alone while their target has no room."""

LOOK_AGAIN_SECONDS = 1.0
"""A held job is decided on anew after that: its deadline passes, another target opens."""

QUIET_SECONDS = 60.0
"""Between two log lines about a broker that refuses."""

Look = Callable[[Case, View, float], Action | Exception]
"""Decides on a job: for the first time, or again."""


class FairLane:
    """One lane of one dispatcher."""

    def __init__(self, lane: Lane, office: Office, quotas: Quotas) -> None:
        self._lane = lane
        self._office = office
        self._quotas = quotas
        self._reception = Reception(office)
        self._opening = Opening(office)
        self._lines = Lines()
        self._refusals = Refusals(lane, office, self._lines, self._reception, self._opening)
        self._listening = Listening(lane, office, self._lines, self._complain)
        self._turns = Turns()
        self._reading = 0
        self._handed_back_at = 0.0
        self._known_next = False
        self._warned_at = -QUIET_SECONDS

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then hand back what is held."""
        try:
            while not stop.is_set():
                change = self._office.state.next_change()
                if not await self._serve_on():
                    await pause(change, POLL_SECONDS)
        finally:
            await self._close()

    async def _serve_on(self) -> bool:
        try:
            return await self.serve_once()
        except BaseException as error:  # a bug ends one round; what was in hand comes back when its leases end
            raise_own(error)
            log.exception("intake_round_failed", lane=self._lane)
            await asyncio.sleep(PAUSE_SECONDS)
            return True

    async def hear(self) -> None:
        """Learn at once of every job that comes in, where the broker tells of them, until cancelled."""
        while True:
            try:
                async for source in self._office.queue.arrivals():
                    self._heard(source)
            except BaseException as error:  # the depths tell of new jobs meanwhile
                raise_own(error)
                log.exception("arrivals_not_heard", lane=self._lane)
            await asyncio.sleep(PAUSE_SECONDS)

    def _heard(self, source: JobsOf) -> None:
        if source.tenant is not None and source.lane is self._lane:
            line = self._lines.of(source.tenant)
            line.announce()
            if line.waiting == 1:
                self._office.state.announce()

    async def serve_once(self) -> bool:
        """Everything that can be done now; whether there was anything."""
        if not (self._note_reading() or self._listening.has_brought or self._lines.busy):
            return False
        arrived = await self._receive_arrived()
        released = await self._release()
        refused = await self._refusals.carry_out(self._take_from)
        await self._relieve()
        taken = await self._take()
        holding = len(self._lines.holding())
        self._listening.listen(lambda tenant: self._most_from(tenant, 0, holding))
        return arrived or released or refused or taken

    async def _receive_arrived(self) -> bool:
        arrived = self._listening.brought()
        await self._receive([(tenant, Grant(), deliveries) for tenant, deliveries in arrived])
        return bool(arrived)

    def _note_reading(self) -> bool:
        """Learn which tenants have jobs, where there is a new reading."""
        state, now = self._office.state, self._office.clock.now()
        if state.readings == self._reading:
            return False
        self._reading = state.readings
        jobs = state.traffic.depths.jobs
        found = {each.tenant: n for each, n in jobs.items() if each.lane is self._lane and each.tenant is not None}
        self._lines.count(found, now)
        self._refusals.note()
        return True

    async def _take(self) -> bool:
        """A round: from each tenant its share of what the targets have room for."""
        self._turns, grants = fairness.allot(self._turns, *self._demand())
        allotted = list(grants.items())
        for start in range(0, len(allotted), TAKES_AT_ONCE):
            asked = allotted[start : start + TAKES_AT_ONCE]
            takes = await asyncio.gather(*(self._take_from(tenant, grant.jobs) for tenant, grant in asked))
            now = self._office.clock.now()
            for (tenant, grant), deliveries in zip(asked, takes, strict=True):
                size = sum(len(delivery.raw) for delivery in deliveries)
                self._lines[tenant].asked(grant.jobs, len(deliveries), size, now)
            await self._receive([(*each, deliveries) for each, deliveries in zip(asked, takes, strict=True)])
            await self._receive_arrived()
        return bool(grants)

    def _demand(self) -> tuple[Mapping[str, int], int]:
        """How many jobs each tenant may be asked for, and how many there is room for in all."""
        now = self._office.clock.now()
        rooms = self._office.state.rooms(self._lane, now)
        traffic = self._office.state.traffic
        room = min(BATCH, sum(room for name, room in rooms.items() if traffic.is_portion(name, self._lane, room)))
        if room <= 0:
            return {}, 0
        asked = self._next(self._due([tenant for tenant, line in self._lines if line.may_be_asked(rooms, now)]), rooms)
        if not asked:
            return {}, 0
        # So many find room whatever their target is; beyond that each tenant risks no more than its window.
        safe, holding = min(rooms.values()) // len(asked), len(self._lines.holding())
        most = {tenant: self._most_from(tenant, safe, holding + len(asked)) for tenant in asked}
        return {tenant: min(self._lines[tenant].to_ask_for, jobs) for tenant, jobs in most.items()}, room

    def _due(self, tenants: Sequence[str]) -> Sequence[str]:
        """With more tenants than one round asks, in turn those that jobs have come of, and those never seen here.

        First looks may find nothing that can run yet, and thousands take long: the jobs of others go on meanwhile.
        """
        if len(tenants) <= MOST_ASKED:
            return tenants
        known = [tenant for tenant in tenants if self._lines[tenant].seen_at]
        self._known_next = not self._known_next
        if self._known_next:
            return known or tenants
        strangers = [tenant for tenant in tenants if not self._lines[tenant].seen_at]
        return strangers or tenants

    def _next(self, tenants: Sequence[str], rooms: Mapping[str, int]) -> Sequence[str]:
        """Those whose turn it is: no more than may have jobs in hand, where one of the targets is full."""
        most = MOST_ASKED
        if min(rooms.values()) <= 0 or self._bytes_left() <= 0:
            most = max(STRANGERS_AT_ONCE, MOST_HOLDING - len(self._lines.holding()))
        if len(tenants) <= most:
            return tenants
        # Among equals half are those known longest, and half the latest: nobody new waits for thousands of others.
        halves = (heapq.nsmallest(most // 2, order, key=self._turns.served_to) for order in (tenants, tenants[::-1]))
        return list(dict.fromkeys(chain(*halves)))

    def _most_from(self, tenant: str, safe: int, holding: int) -> int:
        line = self._lines[tenant]
        held = len(line.held)
        window = min(WINDOW, max(1, MOST_HELD // max(1, holding)))
        allowed = self._quotas.may_take(tenant, self._lane, held, self._turns.of(tenant).per_job)
        return int(min(BATCH, max(safe, window - held), allowed, self._most_by_bytes(line)))

    def _most_by_bytes(self, line: Line) -> float:
        """One at least of a tenant of which nothing is held, so that nobody's large jobs keep it waiting for ever."""
        least = 0 if line.held else 1
        return max(least, self._bytes_left() // line.job_bytes) if line.job_bytes else BATCH

    def _bytes_left(self) -> int:
        return HELD_BYTES - self._office.leases.jobs_bytes

    async def _take_from(self, tenant: str, jobs: int) -> Sequence[AnyDelivery]:
        try:
            return await self._office.queue.take(JobsOf(self._lane, tenant), jobs, 0.0)
        except BaseException as error:  # a bug met by one tenant must not keep the others waiting
            raise_own(error)
            self._complain(tenant, error)
            return []

    def _complain(self, tenant: str, error: BaseException) -> None:
        now = self._office.clock.now()
        if now - self._warned_at >= QUIET_SECONDS:
            self._warned_at = now
            why = str(error) if isinstance(error, QueueUnavailable) else type(error).__name__
            log.warning("intake_cannot_reach_the_queue", lane=self._lane, tenant=tenant, error=why)

    async def _receive(self, taken: Sequence[tuple[str, Grant, Sequence[AnyDelivery]]]) -> None:
        """Put the jobs on their tenants' tabs and send them on their way, or hold them."""
        bookings = [
            Booking(tenant, grant, len(deliveries), sum(self._quotas.charge(delivery) for delivery in deliveries))
            for tenant, grant, deliveries in taken
        ]
        self._turns = fairness.book_all(self._turns, bookings)
        together = [delivery for _, _, deliveries in taken for delivery in deliveries]
        if not together:
            return
        faults.point("intake.taken")
        now = self._office.clock.now()
        for tenant, _, deliveries in taken:
            if deliveries:
                line = self._lines.of(tenant)
                line.seen_at = now
                line.job_bytes = sum(len(delivery.raw) for delivery in deliveries) / len(deliveries)
        self._office.leases.hold(together)
        await self._send_on(together, self._reception.first_look)

    async def _send_on(self, deliveries: Sequence[AnyDelivery], look: Look) -> None:
        errands: list[Errand] = []
        deliveries, sealed = apart(deliveries)
        for start in range(0, len(deliveries), SLICE):
            async with self._office.queue.reading:
                errands += self._place_all(deliveries[start : start + SLICE], look)
            await asyncio.sleep(0)
        if errands:
            await self._office.send(errands)
        await self._opening.run(sealed, partial(self._place_opened, look))

    def _place_all(self, deliveries: Sequence[AnyDelivery], look: Look) -> list[Errand]:
        now = self._office.clock.now()
        view, rooms = self._office.state.view(), self._office.state.rooms(self._lane, now)
        place = partial(self._place, look=look, view=view, rooms=rooms, now=now)
        errands = [self._office.guarded(place, delivery) for delivery in deliveries]
        return [errand for errand in errands if errand is not None]

    def _place_opened(self, look: Look, delivery: AnyDelivery) -> Errand | None:
        self._quotas.charge(delivery)
        return next(iter(self._place_all([delivery], look)), None)

    def _place(self, delivery: AnyDelivery, look: Look, view: View, rooms: dict[str, int], now: float) -> Errand | None:
        """The errand of a job that can go on; None where it is held."""
        case = case_of(delivery)
        if isinstance(case, Malformed):
            return self._reception.rejection(delivery, case, now)
        action = look(case, view, now)
        line = self._lines.of(case.job.tenant)
        line.came(case.job.id)
        if isinstance(action, Wait) and action.reason is Reason.DELAYED:
            until = min(now + action.seconds, deadline_at(case.job, self._office.rules))
            line.delay(case.job.id, until)
        elif isinstance(action, Run | Wait) and self._must_wait(case, action, rooms):
            line.hold(Held(case, action.target, now + LOOK_AGAIN_SECONDS), now)
            return None
        if isinstance(action, Run):
            rooms[action.target] -= 1
        return self._reception.errand(case, action, now)

    def _must_wait(self, case: Case, action: Run | Wait, rooms: Mapping[str, int]) -> bool:
        if isinstance(action, Wait):
            return True
        if rooms.get(action.target, 0) <= 0 or not self._office.state.traffic.has_space(self._lane):
            return True
        return not self._quotas.admits(case.job.tenant, self._lane)

    async def _release(self) -> bool:
        """Decide anew on held jobs: those that have a chance now, and those not looked at for long."""
        now = self._office.clock.now()
        rooms = self._office.state.rooms(self._lane, now)
        again: list[AnyDelivery] = []
        for tenant in sorted(self._lines.holding(), key=self._turns.served_to):
            line, admitted, kept = self._lines[tenant], self._quotas.admits(tenant, self._lane), []
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

    async def _relieve(self) -> None:
        """Hand back what is held beyond its bounds. Of the tenant with the most bytes, the job that came last."""
        holding, now = self._lines.holding(), self._office.clock.now()
        over, back = -self._bytes_left(), list[AnyDelivery]()
        sizes = {tenant: self._lines[tenant].held_bytes for tenant in holding} if over > 0 else {}
        while over > 0 and any(sizes.values()):
            tenant = max(sizes, key=lambda tenant: sizes[tenant])
            delivery = self._let_go(tenant, 1, now)[0]
            back.append(delivery)
            over -= len(delivery.raw)
            sizes[tenant] -= len(delivery.raw)
        rooms = self._office.state.rooms(self._lane, now)
        if len(holding) >= MOST_HOLDING and now - self._handed_back_at >= HAND_BACK_SECONDS:
            others = any(not line.held and line.may_be_asked(rooms, now) for _, line in self._lines)
            self._handed_back_at = now
            for tenant in sorted(holding, key=lambda tenant: self._lines[tenant].held_since)[:STRANGERS_AT_ONCE]:
                back += self._let_go(tenant, len(self._lines[tenant].held), now) if others else ()
        await self._hand_back(back)

    def _let_go(self, tenant: str, jobs: int, now: float) -> list[AnyDelivery]:
        """Take the last of its jobs out of what is held; it rests the longer, the more tenants there are."""
        line = self._lines[tenant]
        kept, going = line.held[: len(line.held) - jobs], line.held[len(line.held) - jobs :]
        if going:
            line.held, line.rests_for = kept, going[0].target
            line.rests_until = now + min(MOST_REST_SECONDS, max(1.0, len(self._lines) / MOST_HOLDING))
            line.waiting += len(going)
        return [held.case.delivery for held in going]

    async def _hand_back(self, deliveries: Sequence[AnyDelivery]) -> None:
        if not deliveries:
            return
        try:
            await self._office.queue.settle([Retry(delivery) for delivery in deliveries])
        except QueueUnavailable as error:
            log.warning("jobs_not_handed_back", jobs=len(deliveries), error=str(error))
        self._office.leases.release(deliveries)

    async def _close(self) -> None:
        await self._opening.finish()
        await self._listening.close()
        held = [held.case.delivery for _, line in self._lines for held in line.held]
        await self._hand_back([*held, *(delivery for _, brought in self._listening.brought() for delivery in brought)])
