"""The ladder of a job with what gives the same answers for less."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from fleet.model.attempt import Attempt
from fleet.model.batched import Observed
from fleet.model.job import Job
from fleet.model.target import FLEX, Target
from fleet.model.view import View
from policies.budget import estimated_usd
from policies.discounts.choice import Offer, Way, choose
from policies.discounts.completion import BATCHES, CALLS, CompletionLaw
from policies.features.needs import Needs
from policies.routing.overload import Sent
from policies.routing.tiers import pinned_target
from policies.rules.ladders import Ladder
from policies.rules.rules import Rules

_CALL = CompletionLaw((), CALLS)


@dataclass(frozen=True, slots=True)
class Moment:
    """The moment of a decision: the time to the job's deadline, the state of the fleet, and where the job was sent."""

    left_seconds: float
    view: View
    sent: Sent | None = None

    def is_with(self, target: Target) -> bool:
        """Return whether the job has been handed to the target's batches."""
        return target.is_batched and self.sent is not None and self.sent.target == target.name


def discounted(
    rungs: Ladder, job: Job, needs: Needs, attempts: Iterable[Attempt], moment: Moment, rules: Rules
) -> Ladder:
    """Return the ladder with its rungs' cheaper equals before them, the cheapest first.

    One that was tried is not tried again: if it failed the usual target is next. A job that names a target gets that
    one, and with a key of its own the tenant pays and chooses.
    """
    if not rules.cheaper_ways or job.own_key is not None or not rules.discounts.tenants.get(job.tenant, True):
        return rungs
    if pinned_target(job) is not None:
        return rungs
    passed = {attempt.target for attempt in attempts} | {rung.name for rung in rungs}
    return tuple(each for rung in rungs for each in _ways_to(rung, passed, job, needs, moment, rules))


def _ways_to(rung: Target, passed: set[str], job: Job, needs: Needs, moment: Moment, rules: Rules) -> Iterator[Target]:
    def price(target: Target) -> float:
        return estimated_usd(job, needs, target, rules)

    paid_for = rules.plans[job.plan].providers
    ways = [
        each
        for each in rules.cheaper_ways.get(rung.name, ())
        if each.name not in passed
        and (paid_for is None or each.provider in paid_for)
        and has_time(each, rung, moment, rules)
        and price(each) < price(rung)
    ]
    yield from sorted(ways, key=lambda way: (not moment.is_with(way), price(way), way.is_batched))
    yield rung


def has_time(way: Target, usual: Target, moment: Moment, rules: Rules) -> bool:
    """Return whether the deadline leaves the cheaper way its time, and then the usual target its own.

    A batch has to keep the promise by all that was seen of such batches, and no more jobs wait in batches than the
    target's `max_in_flight`: they take up room where all work waits. Once the job is handed to it, it has until only
    the time of two calls to the usual target is left.
    """
    if way.service_tier == FLEX:
        needed = max(rules.discounts.slack_seconds, way.timeout_seconds) + usual.timeout_seconds
        return moment.left_seconds >= needed
    if not way.is_batched:
        return True
    if moment.is_with(way):
        return moment.left_seconds > fallback_seconds(usual)
    there = moment.view.targets.get(way.name)
    if there is None or there.queued >= way.max_in_flight:
        return False
    law, promise = law_of(moment.view.batches.get(way.name, ())), rules.discounts.promise
    slack_seconds = moment.left_seconds - way.batch_wait_seconds
    offer = Offer(slack_seconds, _CALL, batch=law, promise=promise, fallback_seconds=fallback_seconds(usual))
    return choose(offer).way is Way.BATCH


def fallback_seconds(usual: Target) -> float:
    """Return the time before a deadline at which a batch is given up: enough for a call, and for another try."""
    return 2 * usual.timeout_seconds


@lru_cache(32)
def law_of(observed: tuple[Observed, ...]) -> CompletionLaw:
    """Return the completion law of batches of which so much was seen; it is asked for at every decision."""
    return CompletionLaw(observed, BATCHES)
