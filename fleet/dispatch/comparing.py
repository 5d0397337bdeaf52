"""Learning from jobs that end: a shadow job after some answers, labels for some discarded ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.state.knowledge import Knowledge
from fleet.dispatch.transition import label
from fleet.model.action import Finish
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import SHADOW_ID, Outbound, Shadow, Work
from fleet.model.view import View
from policies.diet.comparing import comparison_of
from policies.rules.rules import Rules
from policies.shadow import escalated_comparisons, shadow_of


def noted_aside(
    inflight: InFlightJob, action: Finish, look: Callable[[], View], knowledge: Knowledge, now: float, rules: Rules
) -> tuple[Outbound, ...]:
    """Count what a job's end says about its answers; return what to store beside it to learn from, mostly nothing."""
    if inflight.shadow is not None:
        knowledge.compared(inflight)
        return ()
    aside: list[Outbound] = []
    for found in escalated_comparisons(inflight.job, inflight.attempts, action, rules):
        aside.append(label(inflight.job.tenant, inflight.job.id, found, now))
        knowledge.escalated(inflight, found.attempt, found.propensity)
    shadow = shadow_of(inflight.job, inflight.attempts, action, look, now, rules)
    of_diet = comparison_of(inflight.job, inflight.attempts, action, look, now, rules)
    aside.extend(shadow_work(inflight, each, now) for each in (shadow, of_diet) if each is not None)
    return tuple(aside)


def shadow_work(inflight: InFlightJob, shadow: Shadow, now: float) -> Work:
    """Return a shadow job with an id unique across tenants, in the bulk lane with its own deadline, delaying nobody."""
    kind = "diet." if shadow.of_diet else ""
    digest = hashlib.sha256(f"{kind}{inflight.job.tenant}.{inflight.job.id}".encode()).hexdigest()[:32]
    job = replace(inflight.job, id=f"{SHADOW_ID}{digest}", lane=Lane.BULK, submitted_at=now, deadline_at=None)
    return Work(job, shadow.target, Reason.SHADOW, 0, inflight.attempts, shadow)
