"""The most that a job may cost on its ladder."""

from __future__ import annotations

from fleet.model.job import Job
from fleet.model.money import NanoUsd
from fleet.model.view import View
from policies.budget import own_key_for
from policies.features.needs import needs_of
from policies.money import most_usual_cost
from policies.routing.eligibility import Demand, bar
from policies.routing.tiers import ladder
from policies.rules.rules import Rules


def most_cost(job: Job, view: View, rules: Rules) -> NanoUsd:
    """Return what the job costs if every target of its ladder that it may run on writes all it may.

    With this as its limit, money neither ends its climb nor shortens an answer, unless failed calls cost something too.
    """
    needs = needs_of(job.request, rules.estimates)
    demand = Demand(job, needs, left_usd=None)
    return sum(
        most_usual_cost(job.request, needs, target, rules)
        for target in ladder(job, needs, rules)
        if own_key_for(job, target) is None and bar(target, demand, view, rules) is None
    )
