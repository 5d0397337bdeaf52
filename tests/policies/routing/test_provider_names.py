"""A job names providers that exist, and keys where there are any; a slip is answered and not taken for "deny"."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.model.action import GiveUp, Run
from fleet.model.job import Cloud, Plan
from fleet.model.result import Status
from fleet.model.target import Auth
from policies.plan import next_action
from policies.rules.catalogue import catalogue_of

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


@pytest.mark.parametrize("auth", [Auth.NONE, Auth.AWS, Auth.SAGEMAKER])
def test_a_tenants_key_for_a_provider_that_takes_none_is_rejected(rules, job, view, auth):
    keyless = replace(rules.catalogue.providers["openai"], auth=auth, region="us-east-1")
    entries = {**rules.catalogue.providers, "openai": keyless}
    changed = replace(rules, catalogue=catalogue_of(rules.catalogue.targets.values(), entries))
    action = next_action(job(plan=Plan.OWN_KEY, own_key="openai/acme"), (), view(), NOW, changed)
    assert isinstance(action, GiveUp)
    assert (action.status, action.problem.field) == (Status.REJECTED, "own_key")
    assert action.problem.rule == "must read <provider>/<name>, with a provider of anthropic, groq"
