"""The reasons why a target may not run a job."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from fleet.model.action import Action, GiveUp
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.target import Target
from fleet.model.unguarded import unguarded
from fleet.model.view import View
from policies import money
from policies.budget import estimated_usd, own_key_for
from policies.diet.decision import may_fit
from policies.features.needs import Needs
from policies.routing import residency
from policies.rules.rules import Rules


class Bar(Enum):
    """A reason that keeps a job from a target; the order is the order of the checks."""

    CLOUD = auto()
    RESIDENCY = auto()
    UNAVAILABLE = auto()
    CAPABILITY = auto()
    CONTEXT = auto()
    MONEY = auto()
    BUDGET = auto()


_NAMES_A_TARGET = ("request.model", "above", "request.messages")
"""Fields for which a job is rejected if the target it names, or one with room for its prompt, does not exist."""


def wants_for_a_target(action: Action | Exception) -> bool:
    """Return whether the job ends for lack of a target, so that one more target could change it."""
    if not isinstance(action, GiveUp):
        return False
    field = None if action.problem is None else action.problem.field
    lacking = action.reason in (Reason.NO_TARGET, Reason.OUT_OF_MONEY)
    return lacking or (action.reason is Reason.INVALID and field in _NAMES_A_TARGET)


@unguarded
@dataclass(frozen=True, slots=True)
class Demand:
    """A job with its needs and what is left of its own limit in US dollars (None: no limit)."""

    job: Job
    needs: Needs
    left_usd: float | None


def bar(target: Target, demand: Demand, view: View, rules: Rules) -> Bar | None:
    """Return the first obstacle, or None. Where content may go is checked first: nothing may open that door."""
    needs = demand.needs
    if target.is_cloud and not demand.job.cloud.permits(target.provider):
        return Bar.CLOUD
    if residency.objection(target, demand.job, rules) is not None:
        return Bar.RESIDENCY
    now = view.targets.get(target.name)
    if now is None or not now.available or (now.own_key_only and own_key_for(demand.job, target) is None):
        return Bar.UNAVAILABLE
    if not needs.capabilities <= target.capabilities:
        return Bar.CAPABILITY
    if needs.context_tokens > target.context_tokens and not may_fit(demand.job, target, rules):
        return Bar.CONTEXT
    if demand.left_usd is not None and estimated_usd(demand.job, needs, target, rules) > demand.left_usd:
        return Bar.MONEY
    if _objection(target, demand, view, rules) is not None:
        return Bar.BUDGET
    return None


def _objection(target: Target, demand: Demand, view: View, rules: Rules) -> str | None:
    """Return the objection of the day's limits; they do not apply to the fleet's own models or a tenant's own key."""
    job = demand.job
    if not money.fleet_pays(job, target):
        return None
    most = money.quote(job.request, demand.needs, demand.left_usd, target, rules).cost
    return money.objection(most, target, job.tenant, view.money, rules.money)


def explain(reason: Bar, target: Target, demand: Demand, view: View, rules: Rules) -> str:
    """Explain the obstacle in one clause fit for a result."""
    needs = demand.needs
    match reason:
        case Bar.CLOUD:
            return f"{target.name}: the job does not permit {target.provider}"
        case Bar.RESIDENCY:
            return f"{target.name}: {residency.objection(target, demand.job, rules)}"
        case Bar.UNAVAILABLE:
            return f"{target.name}: not available"
        case Bar.CAPABILITY:
            missing = ", ".join(sorted(needs.capabilities - target.capabilities))
            return f"{target.name}: cannot do {missing}"
        case Bar.CONTEXT:
            return f"{target.name}: {target.context_tokens} tokens of context, about {needs.context_tokens} needed"
        case Bar.MONEY:
            price = estimated_usd(demand.job, needs, target, rules)
            return f"{target.name}: about ${price:.6f} with ${max(demand.left_usd or 0.0, 0.0):.6f} left"
        case Bar.BUDGET:
            return f"{target.name}: {_objection(target, demand, view, rules)}"
