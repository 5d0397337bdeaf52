"""What is learned on the side of a job that ends: a shadow job behind some answers, labels for some discarded ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from fleet.dispatch.state.knowledge import Knowledge
from fleet.dispatch.step import Case, Step, label
from fleet.model.action import Finish
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import SHADOW_ID, Letter, Shadow, Work
from fleet.model.view import View
from policies.rules.rules import Rules
from policies.shadow import escalated_comparisons, shadow_of


def with_comparisons(
    step: Step, case: Case, action: Finish, look: Callable[[], View], knowledge: Knowledge, now: float, rules: Rules
) -> Step:
    """The step of a job that ends, and what the shadow sample adds to it; most steps stay as they are."""
    letters: list[Letter] = []
    for found in escalated_comparisons(case.job, case.attempts, action, rules):
        letters.append(label(case.job.tenant, case.job.id, found, now))
        knowledge.escalated(case, found.attempt, found.propensity)
    shadow = shadow_of(case.job, case.attempts, action, look, now, rules)
    if shadow is not None:
        letters.append(_shadow_work(case, shadow, now))
    return replace(step, letters=(*step.letters, *letters)) if letters else step


def _shadow_work(case: Case, shadow: Shadow, now: float) -> Work:
    """In the bulk lane with a deadline of its own: it delays nobody. The id is no other job's, nor another tenant's."""
    digest = hashlib.sha256(f"{case.job.tenant}.{case.job.id}".encode()).hexdigest()[:32]
    job = replace(case.job, id=f"{SHADOW_ID}{digest}", lane=Lane.BULK, submitted_at=now, deadline_at=None)
    return Work(job, shadow.target, Reason.SHADOW, 0, case.attempts, shadow)
