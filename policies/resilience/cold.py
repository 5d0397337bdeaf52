"""The treatment of a job whose target has no replica: it waits for one or moves on, by its deadline and prices.

Dispatchers hand a job that waits over to its target (WORK), as they would to a warm one: there it is counted, and a
replica is started for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeGuard

from fleet.model.action import Action, Wait
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.target import Target
from fleet.model.view import View
from policies.budget import estimated_usd, own_key_for
from policies.features.needs import needs_of
from policies.resilience import breaker
from policies.routing.eligibility import Demand, bar
from policies.rules.rules import Rules
from policies.scaling.cold_starts import cold_seconds

SHORTEST_SECONDS = 1.0
"""Minimum seconds between checks for a replica that should be there any moment."""

LOOK_AGAIN_SECONDS = 10.0
"""Maximum seconds of a wait: a start may take less than the catalogue says, and an operator may lift a hold."""


def waits_for_replica(action: Action) -> TypeGuard[Wait]:
    return isinstance(action, Wait) and action.reason is Reason.COLD


@dataclass(frozen=True, slots=True)
class Asleep:
    """A cold target and when it will be warm, in unix seconds; infinity while an operator holds it."""

    target: Target
    warm_at: float

    @property
    def held(self) -> bool:
        return self.warm_at == math.inf


def asleep(target: Target, view: View, now: float) -> Asleep | None:
    """Return the target if it is known to be cold.

    A start that is under way takes what is left of the seconds that starts are seen to take. One that is overdue is
    expected to take as long again as it is overdue: it may be waiting for a machine that is not available.
    """
    capacity = view.targets[target.name].capacity
    if capacity is None or not capacity.cold:
        return None
    if capacity.held:
        return Asleep(target, math.inf)
    start_seconds = cold_seconds(target, capacity)
    if capacity.starting == 0 or capacity.starting_at is None:
        return Asleep(target, now + start_seconds)
    return Asleep(target, now + abs(capacity.starting_at + start_seconds - now))


def ready(target: Target, demand: Demand, view: View, now: float, rules: Rules) -> bool:
    """Return whether the target may run it and would begin at once: optional work is not waited for."""
    if bar(target, demand, view, rules) is not None:
        return False
    facing = breaker.facing(view.targets[target.name], own_key_for(demand.job, target) is not None)
    return breaker.allows(facing, now) and asleep(target, view, now) is None


def worth_waiting_for(cold: Asleep, instead: Target, demand: Demand, deadline_at: float, rules: Rules) -> bool:
    """Return whether to wait rather than run on the warm target `instead`, a later rung of the same ladder.

    Waiting pays if that one is dearer, and if after the wait there is as much time as a call may take.
    """
    in_time = cold.warm_at + cold.target.timeout_seconds <= deadline_at
    return in_time and _usd(cold.target, demand, rules) < _usd(instead, demand, rules)


def worth_starting_for(job: Job, target: str, instead: str, rules: Rules) -> bool:
    """Return whether a job that runs on `instead`, because `target` is cold or overloaded, is a reason for a replica.

    It is only if it costs more there. A running replica is used whatever the prices say, for it is paid already.
    """
    needs, targets = needs_of(job.request, rules.estimates), rules.catalogue.targets
    here, there = (estimated_usd(job, needs, targets[name], rules) for name in (target, instead))
    return here < there


def at_rest(view: View) -> View:
    """Return the view with no target cold or overloaded: what a job would do with replicas enough."""
    targets = {name: replace(each, capacity=None, sojourns={}) for name, each in view.targets.items()}
    return replace(view, targets=targets)


def wait_for(cold: Asleep, deadline_at: float, now: float) -> Wait:
    """Return the wait until the target may be warm, at most until the deadline."""
    seconds = min(max(cold.warm_at - now, SHORTEST_SECONDS), LOOK_AGAIN_SECONDS, deadline_at - now)
    return Wait(cold.target.name, seconds, Reason.COLD)


def _usd(target: Target, demand: Demand, rules: Rules) -> float:
    return estimated_usd(demand.job, demand.needs, target, rules)
