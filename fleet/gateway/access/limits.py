"""A tenant's quota as OpenAI's clients know one: `x-ratelimit-*` on every answer, and 429 with `Retry-After` beyond it.

The fleet holds jobs back that are beyond the tokens of a minute. Over HTTP somebody waits with an open connection, so
that the gateway refuses them before they are stored; like each dispatcher, each gateway counts for itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from fleet.gateway.errors import ApiError
from fleet.model.job import Job
from policies.fairness.quotas import SECONDS_PER_MINUTE, Allowance, refilled
from policies.features.needs import tokens_of
from policies.rules.rules import Rules
from policies.rules.sections import Quota

WAITING_SECONDS = 5
"""`Retry-After` where too many jobs of the tenant wait: nobody knows when they will be fewer."""

MOST_ALLOWANCES = 4096
"""Tenants remembered before those whose tokens are full again are dropped."""

Headers = Mapping[str, str]


class Limits:
    """The use of each tenant's quota through this gateway."""

    def __init__(self, rules: Rules) -> None:
        self._quotas = rules.quotas
        self._estimates = rules.estimates
        self._allowances: dict[str, Allowance] = {}

    def admit(self, job: Job, waiting: int | None, now: float) -> Headers:
        """Count a job, of whose tenant `waiting` wait in its lane (None: nobody knows); return the headers that say so.

        Raises: ApiError, 429, if it is beyond the quota; then it is not counted.
        """
        quota = self._quotas.of(job.tenant)
        allowance = refilled(self._allowances.get(job.tenant), quota, now)
        over = _over(quota, allowance, waiting)
        if over is None:
            allowance = Allowance(allowance.left - tokens_of(job.request, self._estimates), now)
            self._remember(job.tenant, allowance, now)
        headers = {**_requests(quota, waiting), **_tokens(quota, allowance)}
        if over is not None:
            over.headers |= headers
            raise over
        return headers

    def _remember(self, tenant: str, allowance: Allowance, now: float) -> None:
        if math.isinf(allowance.left):
            return
        self._allowances[tenant] = allowance
        if len(self._allowances) > MOST_ALLOWANCES:
            quotas, known = self._quotas, self._allowances
            self._allowances = {
                name: each
                for name, each in known.items()
                if refilled(each, quotas.of(name), now).left < (quotas.of(name).tokens_per_minute or 0)
            }


def _over(quota: Quota, allowance: Allowance, waiting: int | None) -> ApiError | None:
    """Return the refusal of one more job, or None."""
    if allowance.left <= 0:
        message = f"The tenant may use {quota.tokens_per_minute} tokens a minute."
        return _refusal(message, "tokens", _seconds_until(1.0, quota, allowance))
    if quota.queued is not None and waiting is not None and waiting >= quota.queued:
        return _refusal(f"The tenant may have {quota.queued} jobs waiting in a lane.", "requests", WAITING_SECONDS)
    return None


def _refusal(message: str, kind: str, seconds: float) -> ApiError:
    again = {"retry-after": str(max(1, math.ceil(seconds)))}
    return ApiError(429, message, kind, code="rate_limit_exceeded", headers=again)


def _requests(quota: Quota, waiting: int | None) -> Headers:
    if quota.queued is None or waiting is None:
        return {}
    left, reset = max(0, quota.queued - waiting), 0 if waiting < quota.queued else WAITING_SECONDS
    return _named("requests", quota.queued, left, reset)


def _tokens(quota: Quota, allowance: Allowance) -> Headers:
    if quota.tokens_per_minute is None:
        return {}
    full = quota.tokens_per_minute
    return _named("tokens", full, max(0, int(allowance.left)), _seconds_until(full, quota, allowance))


def _named(unit: str, limit: int, left: int, reset_seconds: float) -> Headers:
    return {
        f"x-ratelimit-limit-{unit}": str(limit),
        f"x-ratelimit-remaining-{unit}": str(left),
        f"x-ratelimit-reset-{unit}": duration(reset_seconds),
    }


def _seconds_until(left: float, quota: Quota, allowance: Allowance) -> float:
    """Return how long it takes until so many tokens are left."""
    assert quota.tokens_per_minute is not None, "only tokens that are counted run out"
    return max(0.0, left - allowance.left) * SECONDS_PER_MINUTE / quota.tokens_per_minute


def duration(seconds: float) -> str:
    """Return a duration as OpenAI writes it: 12ms, 1.5s, 6m0s, 1h0m0s."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < SECONDS_PER_MINUTE:
        return f"{math.ceil(seconds * 10) / 10:g}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"
