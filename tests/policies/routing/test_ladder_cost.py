"""The most that a job may cost on its ladder."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.model.action import Finish, Run
from fleet.model.job import Cloud, Plan
from fleet.model.reason import Reason
from policies import money
from policies.features.needs import needs_of
from policies.plan import next_action
from policies.routing.ladder_cost import most_cost


@pytest.mark.parametrize("changes", [{}, {"text": "Sum it up: " + "words " * 500}])
@pytest.mark.parametrize("request_fields", [{}, {"max_tokens": 300}])
def test_with_it_as_the_limit_money_ends_no_climb_and_shortens_no_answer(
    rules, job, view, answered, changes, request_fields
) -> None:
    made = job(**changes)
    made = replace(made, request={**made.request, **request_fields})
    made = replace(made, max_cost_usd=money.usd_of(most_cost(made, view(), rules)))
    needs, attempts, left = needs_of(made.request, rules.estimates), (), made.max_cost_usd
    while isinstance(action := next_action(made, attempts, view(), 1_001.0, rules), Run):
        target = rules.catalogue.targets[action.target]
        unlimited = money.quote(made.request, needs, None, target, rules)
        assert money.quote(made.request, needs, left, target, rules) == unlimited
        of_input, of_output = target.most_input_usd_per_million_tokens, target.output_usd_per_million_tokens
        cost = money.cost_of(((needs.input_tokens, of_input), (unlimited.output_tokens, of_output)))
        attempts += (replace(answered(len(attempts) + 1, target.name, 0.1), cost_usd=money.usd_of(cost)),)
        left -= money.usd_of(cost)

    assert isinstance(action, Finish)
    assert action.reason is not Reason.OUT_OF_MONEY
    assert len(attempts) > 3


def test_targets_that_may_not_or_cannot_run_the_job_cost_nothing(rules, job, view) -> None:
    inside = replace(job(), cloud=Cloud(frozenset()))
    without_cloud = view(without=tuple(name for name, each in rules.catalogue.targets.items() if each.is_cloud))

    assert most_cost(inside, view(), rules) == most_cost(job(), without_cloud, rules) < most_cost(job(), view(), rules)


def test_a_tenants_own_key_costs_the_fleet_nothing(rules, job, view) -> None:
    assert most_cost(job(plan=Plan.OWN_KEY, own_key="openai/team"), view(), rules) == 0
