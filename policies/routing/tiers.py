"""The tier of a job, and the ladder of targets it climbs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fleet.model.job import ChatRequest, Job, Plan, Tier
from policies.features.needs import Needs
from policies.routing import residency
from policies.rules.ladders import Ladder
from policies.rules.rules import Rules
from policies.rules.sections import Complexity

AUTO = "auto"
"""The model name that leaves the choice to the fleet, like a missing model name."""

CRITICAL = "critical"
"""The metadata key that marks a job as critical when it says "true"."""

# Traits show at the start of a request or not at all; reading further would only cost time on long prompts.
_READ_CHARACTERS = 2_000

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
_PERSONAL = re.compile(r"\w@[\w-]+\.\w|\d[\d ()/-]{8,}\d")
"""Pattern of an e-mail address or a phone number, with only as much of them as keeps the search linear."""


def tier_of(job: Job, rules: Rules) -> Tier:
    """Return the job's own tier, else its task's, else the one by the complexity of the request."""
    if job.tier is not None:
        return job.tier
    task = rules.tasks.get(job.task)
    if task is not None and task.tier is not None:
        return task.tier
    score = complexity(job.request, rules.complexity)
    if score < rules.complexity.medium_from:
        return Tier.SIMPLE
    return Tier.MEDIUM if score < rules.complexity.complex_from else Tier.COMPLEX


def ladder(job: Job, needs: Needs, rules: Rules) -> Ladder:
    """Return the targets the job may climb, weakest first, before anything about the moment is considered.

    A request that names a target starts there; one that asks for a better answer than some target gave starts
    above that target. A tenant who brings a key is served by that provider's targets; after that come critical jobs,
    images, the task's own ladder and the tier's, in this order.
    """
    rungs = _above(job, unpinned(job, needs, rules), rules)
    pinned = pinned_target(job)
    if pinned is None:
        return rungs
    for position, target in enumerate(rungs):
        if target.name == pinned:
            return rungs[position:]
    target_alone = rules.catalogue.get(pinned)
    return () if target_alone is None else (target_alone,)


def _above(job: Job, rungs: Ladder, rules: Rules) -> Ladder:
    """Return the rungs above the target the job names, if one is reachable; at the top only the top is left."""
    below = rules.catalogue.get(job.above) if job.above else None
    name = None if below is None else rules.catalogue.original(below).name
    for position, target in enumerate(rungs):
        if target.name in (job.above, name):
            higher = rungs[position + 1 :]
            reachable = any(residency.permits(job, each, rules) for each in higher)
            return higher if reachable else rungs[position:]
    return rungs


def pinned_target(job: Job) -> str | None:
    """Return the target the request names, or None where the fleet chooses."""
    model = job.request.get("model")
    return None if model is None or model == AUTO else str(model)


def own_provider(job: Job) -> str | None:
    """Return the provider whose key the tenant brings: `own_key` reads `<provider>/<name of the secret>`.

    None unless the plan is own_key: on other plans the fleet pays, so the fleet chooses.
    """
    if job.plan is not Plan.OWN_KEY or job.own_key is None:
        return None
    return job.own_key.partition("/")[0]


def unpinned(job: Job, needs: Needs, rules: Rules) -> Ladder:
    """Return the ladder the fleet itself would choose."""
    routes = rules.routes
    if provider := own_provider(job):
        return routes.by_provider.get((tier_of(job, rules), provider), ())
    if is_critical(job, rules):
        return routes.critical[job.plan]
    if needs.images:
        return routes.vision[job.plan]
    if job.tier is None and routes.by_task and (of_task := routes.by_task.get((job.task, job.plan))):
        return of_task
    return routes.by_tier[tier_of(job, rules), job.plan]


def is_critical(job: Job, rules: Rules) -> bool:
    task = rules.tasks.get(job.task)
    return (task is not None and task.critical) or job.metadata.get(CRITICAL) == "true"


def complexity(request: ChatRequest, weights: Complexity) -> int:
    """Return how hard a request looks, 0 to 10.

    Traits and weights are the rules'; how a trait is recognised (word lists, lengths) is a rule of thumb.
    """
    asked = _asked(request)
    text = asked[-1] if asked else ""
    start = text[:_READ_CHARACTERS].lower()
    words = frozenset(_WORD.findall(start))
    traits = (
        (weights.multi_turn, len(asked) > 1),
        (weights.needs_analysis, not words.isdisjoint(weights.analysis_words)),
        (weights.needs_creativity, not words.isdisjoint(weights.creativity_words)),
        (weights.personal_data, not words.isdisjoint(weights.personal_words) or bool(_PERSONAL.search(start))),
        (weights.long, len(text) > weights.long_characters),
        (weights.simple, len(asked) == 1 and len(text) < weights.simple_characters),
        (weights.has_examples, not words.isdisjoint(weights.example_words)),
        (weights.faq, start.startswith(weights.faq_openings)),
    )
    return max(0, min(10, sum(weight for weight, present in traits if present)))


def asked_text(request: ChatRequest) -> str:
    """Return the user's last message as text."""
    asked = _asked(request)
    return asked[-1] if asked else ""


def _asked(request: ChatRequest) -> list[str]:
    return [_text(message) for message in request.get("messages", ()) if message.get("role") == "user"]


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return " ".join(part.get("text") or "" for part in content or ())
