"""The call that a job makes to its target, and the attempt that records it."""

from __future__ import annotations

from fleet.dispatch.in_flight import InFlightJob, MicroBatch
from fleet.dispatch.runner.cost_reservations import cost_of, request_of
from fleet.model.attempt import Attempt, Hop, Judged, Outcome
from fleet.model.call import Call
from fleet.model.target import Target
from policies.budget import own_key_for
from policies.resilience.deadline import deadline_at
from policies.rules.rules import Rules


def call_of(inflight: InFlightJob, target: Target, now: float, rules: Rules) -> Call:
    """Return the call to the backend for the job."""
    job, request = inflight.job, request_of(inflight, target)
    own_key, seconds = own_key_for(job, target), given_seconds(inflight, target, now, rules)
    salt, scope = rules.prefix_cache.salt_of(job.tenant), rules.prefix_cache.scope_of(job.tenant)
    scope = scope if target.is_cloud else None
    return Call(request, seconds, own_key, inflight.call_id, job.lane, salt, scope, inflight.adapter)


def given_seconds(inflight: InFlightJob, target: Target, started_at: float, rules: Rules) -> float:
    """Return how long the target has: its own timeout, or less where the job's deadline is nearer."""
    left_seconds = max(0.001, deadline_at(inflight.job, rules) - started_at)
    return min(target.timeout_seconds, left_seconds)


def attempt_of(
    inflight: InFlightJob,
    target: Target,
    outcome: Outcome,
    batch: MicroBatch,
    ended_at: float,
    confidence: float | None = None,
    judged: Judged | None = None,
) -> Attempt:
    """Return the next attempt of the job, with what it cost."""
    number, name, cost = len(inflight.attempts) + 1, target.name, cost_of(inflight, outcome, target)
    delivery = inflight.delivery
    tried = (batch.started_at, ended_at, outcome, confidence, cost, judged, inflight.probe, inflight.repeated)
    hop = Hop(delivery.stored_at, inflight.taken_at, delivery.deliveries, batch.id, batch.size)
    whom = (target.region, target.provider, target.model)
    return Attempt(number, name, inflight.reason, *tried, *whom, hop, diet=inflight.diet, adapter=inflight.adapter)
