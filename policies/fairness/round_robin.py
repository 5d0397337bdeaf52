"""The order of jobs where tenants share a lane: deficit round robin, counted in tokens.

Every tenant has a tab, the tokens it was served so far, and the lowest tab is next: for a turn of `TURN_TOKENS`, at
least one job. A tenant that took more than a turn, because a job was large or guessed too small, waits until the others
have had as much: that is its deficit. A tenant whose queue was empty starts at the lowest tab, so nobody saves up.

    between two of its turns     every other tenant gets at most what the first of them took, and one turn
    over any longer time         the tokens of two tenants that always have jobs differ by at most one turn each
    a new tenant                 waits for one turn of every other at most
    nobody else there            everything

Jobs are taken unread, several at a time, so a turn is planned with the tenant's tokens per job as last seen and
booked with what they really were.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

TURN_TOKENS = 4096
TURN_JOBS = 32
"""Maximum jobs of a turn: bounds the harm of a wrong guess, and how long others wait for many small jobs."""

GUESSED_TOKENS = 256.0
"""Guessed tokens of a job of a tenant that was never seen."""


@dataclass(frozen=True, slots=True)
class Tab:
    """A tenant's account: the tokens `served` to it, and how many tokens one of its jobs has."""

    served: float
    per_job: float = GUESSED_TOKENS

    @property
    def turn_jobs(self) -> int:
        return max(1, min(TURN_JOBS, int(TURN_TOKENS / self.per_job)))


@dataclass(frozen=True, slots=True)
class TenantTabs:
    """The tabs of one lane. A tenant without a tab starts at `lowest`."""

    lowest: float = 0.0
    tabs: Mapping[str, Tab] = field(default_factory=dict)

    def served_to(self, tenant: str) -> float:
        """Return the tenant's tab, in tokens."""
        tab = self.tabs.get(tenant)
        return self.lowest if tab is None else max(tab.served, self.lowest)

    def of(self, tenant: str) -> Tab:
        tab = self.tabs.get(tenant)
        return Tab(self.lowest) if tab is None else replace(tab, served=max(tab.served, self.lowest))


@dataclass(frozen=True, slots=True)
class Grant:
    """The number of `jobs` that may be taken of a tenant; `tokens` is what its tab was charged for them."""

    jobs: int = 0
    tokens: float = 0.0


def allot(turns: TenantTabs, waiting: Mapping[str, int], room: int) -> tuple[TenantTabs, Mapping[str, Grant]]:
    """Share `room` jobs among tenants with so many `waiting`: return the new tabs, and what to take from each.

    Law: as much is allotted as there is room for and waits.
    """
    left = {tenant: jobs for tenant, jobs in waiting.items() if jobs > 0}
    tabs = {tenant: turns.of(tenant) for tenant in left}
    line = [(tab.served, tenant) for tenant, tab in tabs.items()]
    heapq.heapify(line)
    granted: dict[str, int] = {}
    while room > 0 and line:
        _, tenant = heapq.heappop(line)
        tab = tabs[tenant]
        jobs = min(tab.turn_jobs, left[tenant], room)
        tabs[tenant] = tab = replace(tab, served=tab.served + jobs * tab.per_job)
        granted[tenant] = granted.get(tenant, 0) + jobs
        left[tenant] -= jobs
        room -= jobs
        if left[tenant]:
            heapq.heappush(line, (tab.served, tenant))
    return _lifted(turns, tabs), {tenant: Grant(jobs, jobs * tabs[tenant].per_job) for tenant, jobs in granted.items()}


def _lifted(turns: TenantTabs, waiting: Mapping[str, Tab]) -> TenantTabs:
    """Raise the lowest tab to that of a waiting tenant, and forget tabs below it, so that there are never many."""
    lowest = max(turns.lowest, min((tab.served for tab in waiting.values()), default=turns.lowest))
    others = {tenant: tab for tenant, tab in turns.tabs.items() if tenant not in waiting and tab.served > lowest}
    return TenantTabs(lowest, {**others, **waiting})


@dataclass(frozen=True, slots=True)
class Booking:
    """The outcome of a tenant's grant; see `book`."""

    tenant: str
    grant: Grant
    taken: int
    tokens: float


def book(turns: TenantTabs, tenant: str, grant: Grant, taken: int, tokens: float) -> TenantTabs:
    """Correct what `allot` guessed: `taken` jobs came, with `tokens` in all. Without a grant they came unasked."""
    return book_all(turns, [Booking(tenant, grant, taken, tokens)])


def book_all(turns: TenantTabs, bookings: Sequence[Booking]) -> TenantTabs:
    """Book the outcomes of several tenants at once: the tabs of all are copied only once."""
    lowest, tabs = turns.lowest, dict(turns.tabs)
    for booking in bookings:
        tab = TenantTabs(lowest, tabs).of(booking.tenant)
        served = tab.served - booking.grant.tokens + booking.tokens
        per_job = max(1.0, booking.tokens / booking.taken) if booking.taken else tab.per_job
        # A tenant that had less than was planned, and has more jobs, must not lose the difference.
        lowest = min(lowest, served) if booking.taken >= booking.grant.jobs else lowest
        tabs[booking.tenant] = Tab(served, per_job)
    return TenantTabs(lowest, tabs)
