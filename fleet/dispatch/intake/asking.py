"""Decides how many jobs to ask each tenant of a lane for, by the room of the targets and by what is in hand."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from itertools import chain

from fleet.dispatch.intake.lines import MOST_HELD, MOST_HOLDING, WINDOW, Line, Lines
from fleet.dispatch.intake.quotas import Quotas
from fleet.dispatch.receiving.receiver import Receiver
from fleet.dispatch.state.lease import Leases
from fleet.dispatch.state.state import FleetState
from fleet.model.job import Lane
from policies.fairness.round_robin import TenantTabs

BATCH = 256
"""Jobs per round: large enough to share the broker's round trips, small enough to decide within milliseconds."""

HELD_BYTES = 32 * 1024 * 1024
"""Maximum bytes, as sent, of jobs in hand that have no target yet, over all lanes; parsed they take twice as much."""

MOST_ASKED = 64
"""Maximum tenants asked in one round: the next ones wait for no more than these."""

STRANGERS_AT_ONCE = 8
"""Tenants asked in a round even when enough others have held jobs: theirs may be for a target that has room."""


class Asking:
    """Decides how many jobs to ask for in one lane."""

    def __init__(
        self, lane: Lane, state: FleetState, leases: Leases, quotas: Quotas, lines: Lines, receiver: Receiver
    ) -> None:
        self._lane = lane
        self._state = state
        self._leases = leases
        self._quotas = quotas
        self._lines = lines
        self._receiver = receiver
        self._known_next = False

    def demand(self, turns: TenantTabs, now: float) -> tuple[Mapping[str, int], int]:
        """Return how many jobs to ask each tenant for, and how many there is room for in total."""
        rooms = self._state.rooms(self._lane, now)
        traffic = self._state.traffic
        room = min(BATCH, sum(room for name, room in rooms.items() if traffic.is_portion(name, self._lane, room)))
        if room <= 0:
            return {}, 0
        asked = self._due([tenant for tenant, line in self._lines if line.may_be_asked(rooms, now)])
        asked = self._next(asked, rooms, turns)
        if not asked:
            return {}, 0
        # `safe` jobs find room whatever their target is; beyond that each tenant risks no more than its window.
        safe, holding = min(rooms.values()) // len(asked), len(self._lines.holding())
        most = {tenant: self.most_from(tenant, safe, holding + len(asked), turns) for tenant in asked}
        return {tenant: min(self._lines[tenant].to_ask_for, jobs) for tenant, jobs in most.items()}, room

    def _due(self, tenants: Sequence[str]) -> Sequence[str]:
        """Return the tenants to ask; if too many for a round, alternate between those seen before and new ones.

        First looks may find nothing that can run yet, and thousands take long: the others' jobs continue meanwhile.
        """
        if len(tenants) <= MOST_ASKED:
            return tenants
        known = [tenant for tenant in tenants if self._lines[tenant].seen_at]
        self._known_next = not self._known_next
        if self._known_next:
            return known or tenants
        strangers = [tenant for tenant in tenants if not self._lines[tenant].seen_at]
        return strangers or tenants

    def _next(self, tenants: Sequence[str], rooms: Mapping[str, int], turns: TenantTabs) -> Sequence[str]:
        """Return the tenants whose turn it is; where a target is full, no more than may have jobs in hand."""
        most = MOST_ASKED
        if min(rooms.values()) <= 0 or self.bytes_left() <= 0:
            most = max(STRANGERS_AT_ONCE, MOST_HOLDING - len(self._lines.holding()))
        if len(tenants) <= most:
            return tenants
        # Among equals take half from those known longest and half from the newest: no new tenant waits for thousands.
        halves = (heapq.nsmallest(most // 2, order, key=turns.served_to) for order in (tenants, tenants[::-1]))
        return list(dict.fromkeys(chain(*halves)))

    def most_from(self, tenant: str, safe: int, holding: int, turns: TenantTabs) -> int:
        """Return how many jobs the tenant may be asked for, where `holding` tenants have jobs in hand."""
        line = self._lines[tenant]
        held = self._in_hand_of(tenant, line)
        window = min(WINDOW, max(1, MOST_HELD // max(1, holding)))
        allowed = self._quotas.may_take(tenant, self._lane, held, turns.of(tenant).per_job)
        return int(min(BATCH, max(safe, window - held), allowed, self._most_by_bytes(line, held)))

    def _in_hand_of(self, tenant: str, line: Line) -> int:
        """Return the sum of the tenant's held jobs and its messages that wait to be opened."""
        return len(line.held) + self._receiver.waiting_of(tenant)

    def _most_by_bytes(self, line: Line, held: int) -> float:
        """Return how many jobs fit the bytes left; min 1 if none is held: others' large jobs must not starve it."""
        least = 0 if held else 1
        return max(least, self.bytes_left() // line.job_bytes) if line.job_bytes else BATCH

    def bytes_left(self) -> int:
        return HELD_BYTES - self._leases.jobs_bytes
