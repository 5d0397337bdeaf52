"""Quotas as `x-ratelimit-*`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.gateway.access.limits import WAITING_SECONDS, Limits, duration
from fleet.gateway.errors import ApiError
from fleet.model.job import Job, Lane, Plan
from fleet.settings.documents import load_rules
from policies.features.needs import tokens_of
from policies.rules.rules import Rules
from policies.rules.sections import Quota, QuotaRules

NOW = 1000.0


@pytest.fixture(scope="module")
def rules() -> Rules:
    return load_rules(None, None, "local")


def job(tenant: str = "acme") -> Job:
    request = {"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 50}
    return Job(
        id="job-000000000001",
        tenant=tenant,
        lane=Lane.STANDARD,
        task="chat",
        plan=Plan.PAID,
        request=request,
        submitted_at=0.0,
    )


def limits(rules: Rules, **quota: int) -> Limits:
    return Limits(replace(rules, quotas=QuotaRules(tenants={"acme": Quota(**quota)})))


def test_a_tenant_without_a_quota_is_told_of_none(rules: Rules) -> None:
    of_acme = limits(rules, tokens_per_minute=1, queued=1)
    assert of_acme.admit(job("beta"), 10_000, NOW) == {}


def test_tokens_are_counted_down_and_come_back_within_a_minute(rules: Rules) -> None:
    each = tokens_of(job().request, rules.estimates)
    counted = limits(rules, tokens_per_minute=10 * each)

    first = counted.admit(job(), None, NOW)
    second = counted.admit(job(), None, NOW)
    later = counted.admit(job(), None, NOW + 60)

    assert first["x-ratelimit-limit-tokens"] == str(10 * each)
    assert [said["x-ratelimit-remaining-tokens"] for said in (first, second, later)] == [
        str(9 * each),
        str(8 * each),
        str(9 * each),
    ]
    assert [said["x-ratelimit-reset-tokens"] for said in (first, second, later)] == ["6s", "12s", "6s"]


def test_beyond_the_tokens_a_job_is_refused_until_there_are_some_again(rules: Rules) -> None:
    each = tokens_of(job().request, rules.estimates)
    counted = limits(rules, tokens_per_minute=each)
    counted.admit(job(), None, NOW)

    with pytest.raises(ApiError) as refused:
        counted.admit(job(), None, NOW)

    error = refused.value
    assert (error.status, error.type, error.code) == (429, "tokens", "rate_limit_exceeded")
    assert error.headers["retry-after"] == str(-(-60 // each))
    assert error.headers["x-ratelimit-remaining-tokens"] == "0"
    assert counted.admit(job(), None, NOW + int(error.headers["retry-after"]))


def test_a_refused_job_costs_nothing(rules: Rules) -> None:
    each = tokens_of(job().request, rules.estimates)
    counted = limits(rules, tokens_per_minute=each)
    counted.admit(job(), None, NOW)
    for _ in range(5):
        with pytest.raises(ApiError):
            counted.admit(job(), None, NOW)

    assert counted.admit(job(), None, NOW + 60)["x-ratelimit-remaining-tokens"] == "0"


@pytest.mark.parametrize(("waiting", "left", "reset"), [(0, "3", "0ms"), (2, "1", "0ms")])
def test_waiting_jobs_are_the_requests_that_are_left(rules: Rules, waiting: int, left: str, reset: str) -> None:
    said = limits(rules, queued=3).admit(job(), waiting, NOW)
    assert said == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": left,
        "x-ratelimit-reset-requests": reset,
    }


def test_one_more_than_may_wait_is_refused(rules: Rules) -> None:
    with pytest.raises(ApiError) as refused:
        limits(rules, queued=3).admit(job(), 3, NOW)

    error = refused.value
    assert (error.status, error.type, error.headers["retry-after"]) == (429, "requests", str(WAITING_SECONDS))
    assert error.headers["x-ratelimit-remaining-requests"] == "0"


def test_where_nobody_knows_how_many_wait_nobody_is_refused_for_it(rules: Rules) -> None:
    assert limits(rules, queued=3).admit(job(), None, NOW) == {}


def test_tenants_whose_tokens_are_full_again_are_forgotten(rules: Rules) -> None:
    counted = Limits(replace(rules, quotas=QuotaRules(default=Quota(tokens_per_minute=1000))))
    for number in range(5000):
        counted.admit(job(f"t{number}"), None, NOW + number)

    assert len(counted._allowances) < 4200


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.012, "12ms"), (1, "1s"), (1.51, "1.6s"), (60, "1m0s"), (360, "6m0s"), (3600, "1h0m0s")],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
