"""Refusal of a lane's excess waiting jobs, which are beyond a quota or in the way of other tenants."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from fleet.dispatch.intake.admission import Admission
from fleet.dispatch.intake.lines import Lines
from fleet.dispatch.receiving.opening import Place
from fleet.dispatch.receiving.receiver import Receiver
from fleet.dispatch.state.lease import Leases
from fleet.dispatch.state.peers import Peers
from fleet.dispatch.state.state import FleetState
from fleet.model.action import GiveUp
from fleet.model.delivery import AnyDelivery, Fill, JobsOf
from fleet.model.job import Lane
from fleet.ports import Clock
from policies.fairness import fullness, quotas
from policies.rules.rules import Rules

MOST_AT_ONCE = 256
"""Maximum jobs of a tenant that are refused in one round, so that other lanes and tenants get their turn."""

TENANTS_AT_ONCE = 32
"""Tenants refused in one round: each may bring a message of the maximum size."""

Take = Callable[[str, int], Awaitable[Sequence[AnyDelivery]]]
"""Takes up to a given number of a tenant's jobs."""


class Refusals:
    """Refuses the excess jobs of one lane. Each reading determines the excess, which holds until the next one."""

    def __init__(
        self,
        lane: Lane,
        clock: Clock,
        rules: Rules,
        state: FleetState,
        peers: Peers,
        leases: Leases,
        receiver: Receiver,
        admission: Admission,
        lines: Lines,
    ) -> None:
        self._lane = lane
        self._clock = clock
        self._rules = rules
        self._state = state
        self._peers = peers
        self._leases = leases
        self._receiver = receiver
        self._admission = admission
        self._lines = lines

    def note(self) -> None:
        """Determine each tenant's excess jobs; nothing of earlier readings stays."""
        for _, line in self._lines:
            line.surplus = 0
        jobs, fill = self._state.traffic.waiting()
        found = {each.tenant: n for each, n in jobs.items() if each.lane is self._lane and each.tenant is not None}
        crowding = self._crowding(found, fill)
        for tenant, queued in found.items():
            surplus = quotas.surplus(self._rules.quotas.of(tenant), queued)
            if surplus or tenant in crowding:
                line = self._lines.of(tenant)
                line.surplus, line.crowds = max(surplus, crowding.get(tenant, 0)), not surplus

    def _crowding(self, found: Mapping[str, int], fill: Fill) -> Mapping[str, int]:
        if not fill.beyond(fullness.JOBS_SHARE):
            return {}
        waiting = {tenant: fullness.Waiting(jobs, self._lines.of(tenant).job_bytes) for tenant, jobs in found.items()}
        return fullness.crowding(fill, waiting, 1 + self._peers.others)

    async def carry_out(self, take: Take) -> bool:
        """Refuse excess jobs, held ones too, and return whether there were any. This takes no room at any target."""
        over = [tenant for tenant, line in self._lines if line.surplus and self._may_refuse(tenant)][:TENANTS_AT_ONCE]
        takes = [take(tenant, min(MOST_AT_ONCE, self._lines[tenant].surplus)) for tenant in over]
        for tenant, deliveries in zip(over, await asyncio.gather(*takes), strict=True):
            await self._refuse(tenant, deliveries)
        return bool(over)

    def _may_refuse(self, tenant: str) -> bool:
        """Return whether to refuse now; not while messages wait to be opened: those are counted and may be refused."""
        return self._lines[tenant].poll is None and not self._receiver.waiting_of(tenant)

    async def _refuse(self, tenant: str, deliveries: Sequence[AnyDelivery]) -> None:
        """Refuse these jobs of the tenant and, if they are fewer than its excess, some of its held jobs."""
        line = self._lines[tenant]
        line.waiting = max(0, line.waiting - len(deliveries))
        self._leases.hold(deliveries)
        short = min(MOST_AT_ONCE, line.surplus) - len(deliveries)
        deliveries = [*deliveries, *(held.inflight.delivery for held in line.held[:short])]
        line.held = line.held[short:]
        line.surplus = max(0, line.surplus - len(deliveries)) if deliveries else 0
        await self._answer(deliveries, tenant, line.crowds)
        size = sum(len(delivery.raw) for delivery in deliveries)
        self._state.traffic.refused(JobsOf(self._lane, tenant), len(deliveries), size)

    async def _answer(self, deliveries: Sequence[AnyDelivery], tenant: str, crowds: bool) -> None:
        why = fullness.REFUSAL if crowds else quotas.refusal(self._rules.quotas.of(tenant))
        await self._receiver.receive(deliveries, partial(self._refusing, why))

    def _refusing(self, why: GiveUp) -> Place:
        now = self._clock.now()
        return lambda inflight: self._admission.transition(inflight, why, now)
