"""Quotas and repeated requests, as a client sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from two_tenants import TwoTenants, two_tenants

from fleet.gateway.access.limits import Limits
from fleet.testing import Answered, Job, MemoryFleet
from policies.rules.sections import Quota, QuotaRules

CHAT = {"model": "auto", "messages": [{"role": "user", "content": "Hello."}]}
RESPONSE = {"model": "auto", "input": "Hello."}
KEY = {"idempotency-key": "order-4711"}
RETRY = {"x-stainless-retry-count": "1"}

DOORS = pytest.mark.parametrize(("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/responses", RESPONSE)])


@pytest.fixture
async def both() -> AsyncIterator[TwoTenants]:
    async with two_tenants() as both:
        yield both


def limit(both: TwoTenants, **quota: int) -> None:
    both.doors.rules = replace(both.doors.rules, quotas=QuotaRules(tenants={"acme": Quota(**quota)}))
    both.doors.limits = Limits(both.doors.rules)


@DOORS
async def test_a_request_with_a_key_runs_once_and_gets_the_same_answer_again(
    both: TwoTenants, path: str, body: dict[str, object]
) -> None:
    first, again = [await both.acme.http.post(path, json=body, headers=KEY) for _ in range(2)]

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["id"] == again.json()["id"] and len(both.fleet.jobs) == 1


@DOORS
async def test_what_an_sdk_sends_again_runs_once(both: TwoTenants, path: str, body: dict[str, object]) -> None:
    first = await both.acme.http.post(path, json=body)
    again = await both.acme.http.post(path, json=body, headers=RETRY)

    assert first.json()["id"] == again.json()["id"] and len(both.fleet.jobs) == 1


@DOORS
async def test_equal_requests_that_are_both_meant_are_two_jobs(
    both: TwoTenants, path: str, body: dict[str, object]
) -> None:
    first, second = [await both.acme.http.post(path, json=body) for _ in range(2)]

    assert first.json()["id"] != second.json()["id"] and len(both.fleet.jobs) == 2


@DOORS
async def test_a_key_with_another_body_is_refused_and_runs_nothing(
    both: TwoTenants, path: str, body: dict[str, object]
) -> None:
    await both.acme.http.post(path, json=body, headers=KEY)
    refused = await both.acme.http.post(path, json={**body, "temperature": 0.5}, headers=KEY)

    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert len(both.fleet.jobs) == 1


async def test_what_was_called_off_when_its_client_went_away_runs_anew_when_it_comes_back() -> None:
    asked: list[Job] = []

    def reply(job: Job) -> Answered:
        asked.append(job)
        return Answered("Hello.")

    async with two_tenants(MemoryFleet(reply)) as both:  # which answers nothing until it is entered
        going = asyncio.create_task(both.acme.http.post("/v1/chat/completions", json=CHAT))
        while not both.tenants.broker.depths().jobs:
            await both.tenants.broker.next_change()
        going.cancel()
        while not both.tenants.broker.stored("cancels"):
            await both.tenants.broker.next_change()
        async with both.fleet:
            answer = await both.acme.http.post("/v1/chat/completions", json=CHAT, headers=RETRY)

    assert answer.status_code == 200
    assert answer.json()["fleet"]["job_id"] == asked[-1].id


@DOORS
async def test_the_answer_says_what_is_left_of_the_quota(both: TwoTenants, path: str, body: dict[str, object]) -> None:
    limit(both, tokens_per_minute=100_000, queued=10)

    answer = await both.acme.http.post(path, json=body)
    others = await both.beta.http.post(path, json=body)

    assert answer.headers["x-ratelimit-limit-tokens"] == "100000"
    assert 0 < int(answer.headers["x-ratelimit-remaining-tokens"]) < 100_000
    assert answer.headers["x-ratelimit-remaining-requests"] == "10"
    assert "x-request-id" in answer.headers
    assert not [name for name in others.headers if name.startswith("x-ratelimit")]


@DOORS
async def test_beyond_the_quota_a_request_is_refused_before_it_is_a_job(
    both: TwoTenants, path: str, body: dict[str, object]
) -> None:
    limit(both, tokens_per_minute=1)
    first: httpx.Response = await both.acme.http.post(path, json=body)
    refused = await both.acme.http.post(path, json=body)

    assert (first.status_code, refused.status_code) == (200, 429)
    assert refused.json()["error"] | {"message": ""} == {
        "message": "",
        "type": "tokens",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert int(refused.headers["retry-after"]) > 0 and refused.headers["x-ratelimit-remaining-tokens"] == "0"
    assert len(both.fleet.jobs) == 1
