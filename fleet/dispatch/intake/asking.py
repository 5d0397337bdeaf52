"""Decides how many jobs each tenant of a lane is asked for: by the room of the targets, and by what is in hand."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from itertools import chain

from fleet.dispatch.intake.lines import MOST_HELD, MOST_HOLDING, WINDOW, Line, Lines
from fleet.dispatch.intake.quotas import Quotas
from fleet.dispatch.receiving import Receiver
from fleet.dispatch.state.lease import Leases
from fleet.dispatch.state.state import FleetState
from fleet.model.job import Lane
from policies.fairness.round_robin import Turns

BATCH = 256
"""Jobs per round: large enough to share the broker's round trips, small enough to decide within milliseconds."""

HELD_BYTES = 32 * 1024 * 1024
"""What the jobs in hand that have no target yet take, as they were sent, over all lanes; parsed it is twice as much."""

MOST_ASKED = 64
"""Tenants asked in one round: whoever comes next waits for no more."""

STRANGERS_AT_ONCE = 8
"""Tenants asked in a round though jobs of enough others are held: theirs may be for a target that has room."""


class Asking:
    """Decides for one lane."""

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

    def demand(self, turns: Turns, now: float) -> tuple[Mapping[str, int], int]:
        """Return how many jobs each tenant may be asked for, and how many there is room for in all."""
        rooms = self._state.rooms(self._lane, now)
        traffic = self._state.traffic
        room = min(BATCH, sum(room for name, room in rooms.items() if traffic.is_portion(name, self._lane, room)))
        if room <= 0:
            return {}, 0
        asked = self._due([tenant for tenant, line in self._lines if line.may_be_asked(rooms, now)])
        asked = self._next(asked, rooms, turns)
        if not asked:
            return {}, 0
        # So many find room whatever their target is; beyond that each tenant risks no more than its window.
        safe, holding = min(rooms.values()) // len(asked), len(self._lines.holding())
        most = {tenant: self.most_from(tenant, safe, holding + len(asked), turns) for tenant in asked}
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

    def _next(self, tenants: Sequence[str], rooms: Mapping[str, int], turns: Turns) -> Sequence[str]:
        """Those whose turn it is: no more than may have jobs in hand, where one of the targets is full."""
        most = MOST_ASKED
        if min(rooms.values()) <= 0 or self.bytes_left() <= 0:
            most = max(STRANGERS_AT_ONCE, MOST_HOLDING - len(self._lines.holding()))
        if len(tenants) <= most:
            return tenants
        # Among equals half are those known longest, and half the latest: nobody new waits for thousands of others.
        halves = (heapq.nsmallest(most // 2, order, key=turns.served_to) for order in (tenants, tenants[::-1]))
        return list(dict.fromkeys(chain(*halves)))

    def most_from(self, tenant: str, safe: int, holding: int, turns: Turns) -> int:
        """Return how many jobs the tenant may be asked for, where so many tenants have jobs in hand."""
        line = self._lines[tenant]
        held = self._in_hand_of(tenant, line)
        window = min(WINDOW, max(1, MOST_HELD // max(1, holding)))
        allowed = self._quotas.may_take(tenant, self._lane, held, turns.of(tenant).per_job)
        return int(min(BATCH, max(safe, window - held), allowed, self._most_by_bytes(line, held)))

    def _in_hand_of(self, tenant: str, line: Line) -> int:
        """Return how many jobs of the tenant are held and how many of its messages wait to be opened, together."""
        return len(line.held) + self._receiver.waiting_of(tenant)

    def _most_by_bytes(self, line: Line, held: int) -> float:
        """One at least of a tenant of which nothing is held, so that nobody's large jobs keep it waiting for ever."""
        least = 0 if held else 1
        return max(least, self.bytes_left() // line.job_bytes) if line.job_bytes else BATCH

    def bytes_left(self) -> int:
        return HELD_BYTES - self._leases.jobs_bytes
