"""The tenants' use of their quotas, as this dispatcher knows it."""

from __future__ import annotations

from fleet.dispatch.state.traffic import Traffic
from fleet.model.delivery import AnyDelivery
from fleet.model.job import Job, Lane
from fleet.ports import Clock
from policies.fairness import quotas
from policies.fairness.quotas import Allowance
from policies.features.needs import tokens_of
from policies.rules.rules import Rules

MOST_ALLOWANCES = 4096
"""Tenants remembered before those whose tokens per minute are full again are dropped."""


class Quotas:
    """The use of quotas: jobs in flight, as the traffic counts them, and tokens per minute over all lanes."""

    def __init__(self, rules: Rules, clock: Clock, traffic: Traffic) -> None:
        self._rules = rules.quotas
        self._estimates = rules.estimates
        self._clock = clock
        self._traffic = traffic
        self._allowances: dict[str, Allowance] = {}

    def charge(self, delivery: AnyDelivery) -> int:
        """Count a job that was taken and return its tokens. An unreadable one counts as the default output tokens."""
        estimates, body = self._estimates, delivery.body
        if not isinstance(body, Job):
            return estimates.output_tokens
        tokens = tokens_of(body.request, estimates)
        if self._rules.of(body.tenant).tokens_per_minute is not None:
            now = self._clock.now()
            before = self._allowance(body.tenant, now)
            self._allowances[body.tenant] = Allowance(before.left - tokens, now)
            self._forget(now)
        return tokens

    def may_take(self, tenant: str, lane: Lane, held: int, tokens_per_job: float) -> float:
        """Return how many more jobs of the tenant may be taken, with `held` in hand already; infinity: any number."""
        now, traffic = self._clock.now(), self._traffic
        if traffic.overfills(tenant, lane):
            return 0
        in_flight = traffic.in_flight_of(tenant) + held
        return quotas.may_take(self._rules.of(tenant), in_flight, self._allowance(tenant, now), tokens_per_job)

    def admits(self, tenant: str, lane: Lane) -> bool:
        """Return whether one more job of the tenant may be sent to a target."""
        most, traffic = self._rules.of(tenant).in_flight, self._traffic
        return not traffic.overfills(tenant, lane) and (most is None or traffic.in_flight_of(tenant) < most)

    def _allowance(self, tenant: str, now: float) -> Allowance:
        return quotas.refilled(self._allowances.get(tenant), self._rules.of(tenant), now)

    def _forget(self, now: float) -> None:
        if len(self._allowances) <= MOST_ALLOWANCES:
            return
        for tenant in list(self._allowances):
            allowance = self._allowance(tenant, now)
            if allowance.left == self._rules.of(tenant).tokens_per_minute:
                del self._allowances[tenant]
