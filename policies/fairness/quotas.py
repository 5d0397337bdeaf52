"""Quotas: a tenant's maximum of jobs in flight, tokens per minute and jobs waiting. A missing one does not limit.

The first two hold jobs back, in every lane; only a surplus of waiting jobs is refused. Tokens are those
the fleet guesses when it takes a job (prompt and requested output), counted in each dispatcher for itself; jobs in
flight and waiting are the fleet's.

The oldest are refused: a queue is read from its head, so their publisher learns of it at once and not when all before
them is done, and the jobs kept have the most time left. The broker could refuse the newest itself (messages per
subject), but it has one limit for all tenants and gives no result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fleet.model.action import GiveUp
from fleet.model.reason import Reason
from fleet.model.result import Problem, Status
from policies.rules.sections import Quota

SECONDS_PER_MINUTE = 60.0

SHARE_PER_READING = 4
"""Divisor of the surplus to refuse at one reading: up to so many dispatchers see the same one, and refuse no more."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """A tenant's tokens, `left` at `at` (unix seconds): a minute's worth at most. A large job may overdraw."""

    left: float
    at: float


def refilled(before: Allowance | None, quota: Quota, now: float) -> Allowance:
    """Return the allowance now; a new tenant has a whole minute's worth. Without a quota it is infinite."""
    if quota.tokens_per_minute is None:
        return Allowance(math.inf, now)
    full = float(quota.tokens_per_minute)
    if before is None or math.isinf(before.left):
        return Allowance(full, now)
    gained = max(0.0, now - before.at) * full / SECONDS_PER_MINUTE
    return Allowance(min(full, before.left + gained), now)


def may_take(quota: Quota, in_flight: int, allowance: Allowance, tokens_per_job: float) -> float:
    """Return how many more jobs may be taken now; infinity where nothing limits them. One may overdraw the tokens."""
    by_tokens = math.ceil(allowance.left / tokens_per_job) if math.isfinite(allowance.left) else math.inf
    by_jobs = math.inf if quota.in_flight is None else quota.in_flight - in_flight
    return max(0.0, min(by_tokens, by_jobs))


def surplus(quota: Quota, queued: int) -> int:
    """Return how many waiting jobs to refuse after a reading that found `queued`."""
    if quota.queued is None or queued <= quota.queued:
        return 0
    return math.ceil((queued - quota.queued) / SHARE_PER_READING)


def refusal(quota: Quota) -> GiveUp:
    """Return the end of a job beyond the quota."""
    rule = f"may have at most {quota.queued} jobs waiting in a lane"
    problem = Problem("too many jobs of the tenant are waiting", field="tenant", rule=rule)
    return GiveUp(Status.REJECTED, Reason.OVER_QUOTA, problem)
