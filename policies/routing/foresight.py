"""The decision to skip a ladder's first rung, because a learned router expects it to fail."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.model.calibration import ANY
from fleet.model.job import Job
from fleet.model.router import Router, RouterKey
from fleet.model.view import View
from policies.adapters.routing import digest_for
from policies.routing.learned_router import suffices
from policies.routing.tiers import asked_text, pinned_target
from policies.rules.ladders import Ladder
from policies.rules.rules import Rules


def passes_over(job: Job, rungs: Ladder, view: View, rules: Rules) -> bool:
    """Return whether a router for this pair of rungs knows such prompts and gives the first rung too little chance.

    A job that names a target, or asks for a better answer than a target gave, has decided already. What a router has
    learned is about the first rung's own weights: it says nothing of a job that an adapter answers there.
    """
    if not rules.router.enabled or not view.routers or len(rungs) < 2 or pinned_target(job) is not None or job.above:
        return False
    if digest_for(rungs[0], job.tenant, job.task, view.adapters, rules.adapter) is not None:
        return False
    router = _router_for(job.task, rungs, view.routers)
    if router is None:
        return False
    chance = suffices(router, asked_text(job.request))
    return chance is not None and chance < rules.router.skip_below


def _router_for(task: str, rungs: Ladder, routers: Mapping[RouterKey, Router]) -> Router | None:
    """Return the most specific router of the first rung, if it was learned against a target that is above it here."""
    for family in (task, task.partition(".")[0] + ".*", ANY):
        router = routers.get((rungs[0].name, family))
        if router is not None:
            return router if any(target.name == router.strong for target in rungs[1:]) else None
    return None
