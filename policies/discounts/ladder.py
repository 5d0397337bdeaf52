"""The ladder of a job with what gives the same answers for less."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fleet.model.attempt import Attempt, Failure
from fleet.model.job import Job
from fleet.model.target import Target
from policies.budget import estimated_usd
from policies.features.needs import Needs
from policies.routing.tiers import pinned_target
from policies.rules.discounts import FLEX
from policies.rules.ladders import Ladder
from policies.rules.rules import Rules


def discounted(
    rungs: Ladder, job: Job, needs: Needs, attempts: Iterable[Attempt], left_seconds: float, rules: Rules
) -> Ladder:
    """Return the ladder with its rungs' cheaper equals before them, the cheapest first.

    One that has failed is not tried again: the usual target is next. A job that names a target gets that one, and with
    a key of its own the tenant pays and chooses. `left_seconds` are those to the job's deadline.
    """
    if not rules.cheaper_ways or job.own_key is not None or not rules.discounts.tenants.get(job.tenant, True):
        return rungs
    if pinned_target(job) is not None:
        return rungs
    passed = {attempt.target for attempt in attempts if isinstance(attempt.outcome, Failure)}
    passed |= {rung.name for rung in rungs}
    return tuple(each for rung in rungs for each in _ways_to(rung, passed, job, needs, left_seconds, rules))


def _ways_to(
    rung: Target, passed: set[str], job: Job, needs: Needs, left_seconds: float, rules: Rules
) -> Iterator[Target]:
    def price(target: Target) -> float:
        return estimated_usd(job, needs, target, rules)

    paid_for = rules.plans[job.plan].providers
    ways = [
        each
        for each in rules.cheaper_ways.get(rung.name, ())
        if each.name not in passed
        and (paid_for is None or each.provider in paid_for)
        and has_time(each, rung, left_seconds, rules)
        and price(each) < price(rung)
    ]
    yield from sorted(ways, key=price)
    yield rung


def has_time(way: Target, usual: Target, left_seconds: float, rules: Rules) -> bool:
    """Return whether the deadline leaves a flexible call its time, and then the usual target its own."""
    if way.service_tier != FLEX:
        return True
    return left_seconds - usual.timeout_seconds >= max(rules.discounts.slack_seconds, way.timeout_seconds)
