"""A job that asks for a better answer than some target gave names a target that exists, and starts above it."""

from __future__ import annotations

import pytest

from fleet.model.action import GiveUp, Run
from fleet.model.job import CLOUD_DENY
from fleet.model.reason import Reason
from fleet.model.result import Status
from policies.plan import next_action

NOW = 1_001.0


@pytest.mark.parametrize("above", ["llama-9b", "", "LLAMA-8B"])
def test_an_unknown_target_is_rejected_with_the_names_that_exist(rules, job, view, above):
    action = next_action(job(above=above), (), view(), NOW, rules)
    assert isinstance(action, GiveUp)
    assert (action.status, action.problem.field) == (Status.REJECTED, "above")
    assert all(name in str(action.problem.rule) for name in rules.catalogue.targets)


def test_a_job_starts_above_the_target_it_names(rules, job, view):
    first = next_action(job(), (), view(), NOW, rules)
    assert isinstance(first, Run)
    second = next_action(job(above=first.target), (), view(), NOW, rules)
    assert isinstance(second, Run)
    assert second.reason is Reason.ROUTED
    assert second.target not in (first.target, None)


def test_where_nothing_above_may_be_reached_the_named_target_answers_again(rules, job, view):
    action = next_action(job(above="llama-70b", cloud=CLOUD_DENY), (), view(), NOW, rules)
    assert isinstance(action, Run) and action.target == "llama-70b"
