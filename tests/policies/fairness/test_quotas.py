"""Quotas of tenants: what holds a job back, what refuses it, and what a rules file may say of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.errors import ConfigError
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.settings.documents import load_rules
from policies.fairness.quotas import Allowance, may_take, refilled, refusal, surplus
from policies.rules.sections import Quota, QuotaRules

NOW = 1_000.0
MINUTELY = Quota(tokens_per_minute=600)
UNLIMITED = Allowance(math.inf, NOW)


@pytest.mark.parametrize(
    ("quota", "in_flight", "allowance", "expected"),
    [
        (Quota(), 10_000, UNLIMITED, math.inf),
        (Quota(in_flight=8), 3, UNLIMITED, 5),
        (Quota(in_flight=8), 8, UNLIMITED, 0),
        (Quota(in_flight=8), 12, UNLIMITED, 0),
        (MINUTELY, 0, Allowance(600, NOW), 6),
        (MINUTELY, 0, Allowance(1, NOW), 1),
        (MINUTELY, 0, Allowance(0, NOW), 0),
        (MINUTELY, 0, Allowance(-500, NOW), 0),
        (Quota(in_flight=2, tokens_per_minute=600), 0, Allowance(600, NOW), 2),
    ],
)
def test_a_tenant_may_have_what_its_quota_leaves(quota, in_flight, allowance, expected):
    assert may_take(quota, in_flight, allowance, tokens_per_job=100.0) == expected


@pytest.mark.parametrize(
    ("before", "now", "left"),
    [
        (None, NOW, 600),
        (Allowance(0, NOW), NOW + 6, 60),
        (Allowance(-300, NOW), NOW + 30, 0),
        (Allowance(500, NOW), NOW + 3600, 600),
        (Allowance(100, NOW), NOW - 50, 100),
    ],
)
def test_tokens_come_back_by_the_second_up_to_a_minutes_worth(before, now, left):
    assert refilled(before, MINUTELY, now) == Allowance(left, now)


def test_without_a_quota_there_is_no_end_to_the_tokens_and_a_new_quota_starts_whole():
    unlimited = refilled(None, Quota(), NOW)
    assert math.isinf(unlimited.left)
    assert refilled(unlimited, MINUTELY, NOW) == Allowance(600, NOW)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 500)), max_size=80))
def test_over_any_time_no_more_tokens_are_taken_than_the_quota_a_minutes_worth_and_one_job(steps):
    allowance, now, taken, largest = refilled(None, MINUTELY, NOW), NOW, 0, 0
    for seconds, tokens in steps:
        now += seconds
        allowance = refilled(allowance, MINUTELY, now)
        if may_take(MINUTELY, 0, allowance, 1.0):
            allowance = Allowance(allowance.left - tokens, now)
            taken, largest = taken + tokens, max(largest, tokens)
    assert taken <= 600 + (now - NOW) * 10 + largest + 1e-6


@pytest.mark.parametrize(("queued", "expected"), [(0, 0), (100, 0), (101, 1), (104, 1), (500, 100)])
def test_a_quarter_of_what_is_too_much_is_refused_at_a_reading(queued, expected):
    assert surplus(Quota(queued=100), queued) == expected
    assert surplus(Quota(), queued) == 0


def test_a_refusal_names_the_tenant_and_the_rule():
    refused = refusal(Quota(queued=100))
    assert (refused.status, refused.reason, refused.dead) == (Status.REJECTED, Reason.OVER_QUOTA, False)
    assert (refused.problem.field, refused.problem.rule) == ("tenant", "may have at most 100 jobs waiting in a lane")


def test_a_tenants_own_quota_replaces_the_default_whole():
    rules = QuotaRules(Quota(in_flight=8, queued=100), {"acme": Quota(queued=1000)})
    assert (rules.of("globex"), rules.of("acme")) == (Quota(in_flight=8, queued=100), Quota(queued=1000))


@pytest.mark.parametrize("name", ["in_flight", "tokens_per_minute", "queued", "files"])
@pytest.mark.parametrize("value", [0, -5])
def test_a_quota_of_nothing_is_refused_by_its_path(name, value):
    rules = load_rules(None, None, "local")
    with pytest.raises(ConfigError, match=rf"^quotas\.default\.{name}: "):
        replace(rules, quotas=QuotaRules(Quota(**{name: value})))
    with pytest.raises(ConfigError, match=rf"^quotas\.tenants\.acme\.{name}: "):
        replace(rules, quotas=QuotaRules(tenants={"acme": Quota(**{name: value})}))


def test_a_quota_for_what_is_no_tenant_is_refused():
    rules = load_rules(None, None, "local")
    with pytest.raises(ConfigError, match=r"^quotas\.tenants\.a\.b: "):
        replace(rules, quotas=QuotaRules(tenants={"a.b": Quota(queued=1)}))
