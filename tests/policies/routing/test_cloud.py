"""A job that names the providers it may reach names ones that exist; a slip is answered and not taken for "deny"."""

from __future__ import annotations

import pytest

from fleet.model.action import GiveUp, Run
from fleet.model.job import Cloud
from fleet.model.result import Status
from policies.plan import next_action

NOW = 1_001.0


@pytest.mark.parametrize("named", ["opnai", "fleet", "together"])
def test_an_unknown_provider_is_rejected_with_the_names_that_exist(rules, job, view, named):
    action = next_action(job(cloud=Cloud(frozenset({"openai", named}))), (), view(), NOW, rules)
    assert isinstance(action, GiveUp)
    assert (action.status, action.problem.field) == (Status.REJECTED, "cloud")
    assert action.problem.rule == "must be allow, deny, or a list of anthropic, groq, openai"
    assert repr(named) in action.problem.message


@pytest.mark.parametrize("named", [(), ("openai",), ("anthropic", "groq")])
def test_a_known_provider_is_no_problem(rules, job, view, named):
    assert isinstance(next_action(job(cloud=Cloud(frozenset(named))), (), view(), NOW, rules), Run)
