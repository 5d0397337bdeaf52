"""The shadow sample: a few answers of weaker models, compared with a stronger one's, to learn from without bias.

Feedback on delivered answers alone says nothing about escalated answers and too little about those kept with doubt;
a random sample with recorded propensities does (inverse propensity weights).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from fleet.model.action import Action, Finish, GiveUp, Run
from fleet.model.attempt import Answer, Attempt
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.result import Problem, Shadow, Status
from fleet.model.view import View
from policies.features.agreement import agree
from policies.features.needs import needs_of
from policies.resilience import cold
from policies.resilience.deadline import deadline_at
from policies.routing import tiers as routing
from policies.routing.eligibility import Demand
from policies.rules.rules import Rules

NEAR = 0.1
"""Distance to its threshold within which a confidence is a stratum of its own, drawn twice as often."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A weaker model's answer beside the final one: `attempt` was as good, or not, drawn with this propensity."""

    attempt: Attempt
    good: bool
    propensity: float


def shadow_of(
    job: Job, attempts: tuple[Attempt, ...], action: Finish, look: Callable[[], View], now: float, rules: Rules
) -> Shadow | None:
    """Return the comparison to run behind a kept answer, or None for most; `look` is called only if one is drawn.

    There is none for a tenant's own key, none on a target that is barred, shut or cold, and none outside the fleet
    unless the rules allow it.
    """
    if action.reason is not Reason.CONFIDENT or job.own_key is not None:
        return None
    kept = attempts[action.attempt - 1]
    propensity = _kept_propensity(kept, rules)
    if not is_drawn(f"kept:{job.tenant}.{job.id}", propensity):
        return None
    target = _stronger(job, kept, look(), now, rules)
    return None if target is None else Shadow(job.id, target, kept.number, propensity)


def _kept_propensity(kept: Attempt, rules: Rules) -> float:
    threshold = 0.0 if kept.judged is None else kept.judged.threshold
    near = kept.confidence is not None and math.isfinite(threshold) and kept.confidence < threshold + NEAR
    return min(1.0, rules.shadow.kept * (2.0 if near else 1.0))


def is_drawn(seed: str, propensity: float) -> bool:
    """Draw by a hash in place of chance: a repeated step draws the same, and every process agrees."""
    return zlib.crc32(seed.encode()) / 2**32 < propensity


def _stronger(job: Job, kept: Attempt, view: View, now: float, rules: Rules) -> str | None:
    needs = needs_of(job.request, rules.estimates)
    rungs = routing.ladder(job, needs, rules)
    same = rules.catalogue.same((kept.target,))
    place = next((place for place, target in enumerate(rungs) if target.name in same), len(rungs))
    above = rungs[place + 1 :]
    demand = Demand(job, needs, None)
    for target in above:
        if target.is_cloud and not rules.shadow.cloud:
            continue
        if cold.ready(target, demand, view, now, rules):
            return target.name
    return None


def next_action(
    shadow: Shadow, job: Job, attempts: tuple[Attempt, ...], view: View, now: float, rules: Rules
) -> Action:
    """Make one attempt on the stronger target, or none: a comparison is never worth a retry or a wait."""
    last = attempts[-1]
    if last.reason is Reason.SHADOW:
        if isinstance(last.outcome, Answer):
            return Finish(last.number, Status.SUCCEEDED, Reason.SHADOW)
        return GiveUp(Status.FAILED, Reason.SHADOW, Problem("the stronger target did not answer"))
    target = rules.catalogue.targets.get(shadow.target)
    demand = Demand(job, needs_of(job.request, rules.estimates), None)
    if target is None or now >= deadline_at(job, rules) or not cold.ready(target, demand, view, now, rules):
        return not_to_be_had()
    return Run(shadow.target, Reason.SHADOW)


def not_to_be_had() -> GiveUp:
    """Return the end of a comparison that could not be made."""
    return GiveUp(Status.FAILED, Reason.SHADOW, Problem("the stronger target is not to be had"))


def kept_comparison(shadow: Shadow, attempts: tuple[Attempt, ...]) -> Comparison | None:
    """Compare the kept answer with the shadow's own attempt, the last one; None without one, or if it cannot tell.

    Two calls to one target, with and without a diet, tell nothing about the target.
    """
    if shadow.of_diet:
        return None
    kept, last = attempts[shadow.attempt - 1], attempts[-1]
    return _compared(kept, last, shadow.propensity) if last.reason is Reason.SHADOW else None


def escalated_comparisons(job: Job, attempts: tuple[Attempt, ...], action: Finish, rules: Rules) -> list[Comparison]:
    """Compare a job's discarded answers with the final one of a higher rung, for a sample of jobs; it costs nothing."""
    if len(attempts) < 2 or job.own_key is not None:
        return []
    propensity = rules.shadow.escalated
    final = attempts[action.attempt - 1]
    weaker = [
        a
        for a in attempts[: action.attempt - 1]
        if a.probe is None and isinstance(a.outcome, Answer) and a.target != final.target
    ]
    if not weaker or not is_drawn(f"escalated:{job.tenant}.{job.id}", propensity):
        return []
    return [found for each in weaker if (found := _compared(each, final, propensity)) is not None]


def _compared(weak: Attempt, strong: Attempt, propensity: float) -> Comparison | None:
    if not isinstance(weak.outcome, Answer) or not isinstance(strong.outcome, Answer):
        return None
    # Confidence 0 marks an unusable answer (a refusal, half an answer), which is no measure of another answer.
    if strong.confidence == 0.0:
        return None
    good = agree(weak.outcome, strong.outcome)
    return None if good is None else Comparison(weak, good, propensity)
