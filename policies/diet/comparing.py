"""The quality check of a diet: some calls are made once more the other way, and the two answers are compared.

Where a diet is only tried, the second call has it; where it is on, the second call is whole. A difference may be
chance, where a model answers the same request in two ways: the share that agrees is rather too small than too large.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fleet.model.action import Finish
from fleet.model.attempt import Answer, Attempt
from fleet.model.diet import Diet
from fleet.model.job import Job
from fleet.model.result import Shadow, Status
from fleet.model.view import View
from policies.diet.decision import rules_for
from policies.features.agreement import agree
from policies.features.needs import needs_of
from policies.resilience import cold
from policies.routing.eligibility import Demand
from policies.rules.rules import Rules
from policies.shadow import is_drawn


def comparison_of(
    job: Job, attempts: tuple[Attempt, ...], action: Finish, look: Callable[[], View], now: float, rules: Rules
) -> Shadow | None:
    """Return the comparison to run behind an answer, or None for most; `look` is called only if one is drawn.

    There is none for a tenant's own key, none on a target that is barred, shut or cold, and none outside the fleet
    unless the rules of comparisons allow it.
    """
    kept, share = attempts[action.attempt - 1], rules_for(job, rules).compared
    target = rules.catalogue.targets.get(kept.target)
    if kept.diet is None or target is None or job.own_key is not None or action.status is not Status.SUCCEEDED:
        return None
    if (target.is_cloud and not rules.shadow.cloud) or not is_drawn(f"diet:{job.tenant}.{job.id}", share):
        return None
    demand = Demand(job, needs_of(job.request, rules.estimates), None)
    is_ready = cold.ready(target, demand, look(), now, rules)
    return Shadow(job.id, target.name, kept.number, share, of_diet=True) if is_ready else None


def diet_of_comparison(shadow: Shadow, attempts: tuple[Attempt, ...]) -> Diet | None:
    """Return the diet of the second call: the other way round than that of the first."""
    diet = attempts[shadow.attempt - 1].diet if shadow.of_diet else None
    return None if diet is None else replace(diet, shadow=not diet.shadow)


def compared(shadow: Shadow, attempts: tuple[Attempt, ...], second: Attempt) -> Attempt:
    """Return the second call's attempt with its verdict: whether its answer says the same as the first one's.

    An unusable answer of a call with the diet differs, for the first one was usable; that of a whole call says nothing.
    """
    first, diet = attempts[shadow.attempt - 1].outcome, second.diet
    if diet is None or not isinstance(first, Answer) or not isinstance(second.outcome, Answer):
        return second
    agreed = agree(first, second.outcome)
    if second.confidence == 0.0:
        agreed = None if diet.shadow else False
    return replace(second, diet=replace(diet, agreed=agreed))
