"""What providers say is left of their limits, read from their headers and through the real SDKs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fault_server import Scripted
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.attempt import Answer, Failure, Headroom, Limit, Usage
from fleet.model.call import Call
from fleet.model.target import Provider
from fleet.providers import EnvironmentKeyRing, ProviderSettings, build
from fleet.providers.headroom import OwnCount, headroom_in, headroom_of
from fleet.providers.retry_after import LONGEST_SECONDS

NOW = 1_795_176_000.0  # Fri, 20 Nov 2026 12:00:00 GMT
OPENAI = {
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-reset-tokens": "6m0s",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-remaining": "3",
    "anthropic-ratelimit-requests-reset": "2026-11-20T12:00:30Z",
    "anthropic-ratelimit-tokens-remaining": "0",
    "anthropic-ratelimit-tokens-reset": "2026-11-20T12:01:00Z",
}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"content-type": "application/json"}, None),
        (OPENAI, Headroom(Limit(59, 1.0), Limit(149_984, 360.0))),
        (ANTHROPIC, Headroom(Limit(3, 30.0), Limit(0, 60.0))),
        (ANTHROPIC | {"date": "Fri, 20 Nov 2026 11:59:50 GMT"}, Headroom(Limit(3, 40.0), Limit(0, 70.0))),
        (ANTHROPIC | {"anthropic-ratelimit-tokens-reset": "2026-11-20"}, Headroom(Limit(3, 30.0), Limit(0, 0.0))),
        ({**OPENAI, "x-ratelimit-remaining-tokens": "many"}, Headroom(Limit(59, 1.0), None)),
        (OPENAI | {"x-ratelimit-reset-requests": "99h"}, Headroom(Limit(59, LONGEST_SECONDS), Limit(149_984, 360.0))),
        (OPENAI | {"x-ratelimit-reset-requests": "0", "x-ratelimit-reset-tokens": "1.5"},
         Headroom(Limit(59, 0.0), Limit(149_984, 1.5))),
        (OPENAI | {"x-ratelimit-reset-requests": "-3"}, Headroom(Limit(59, 0.0), Limit(149_984, 360.0))),
        ({"anthropic-ratelimit-input-tokens-remaining": "9", "anthropic-ratelimit-input-tokens-reset": "soon"}, None),
        ({"anthropic-ratelimit-input-tokens-remaining": "9",
          "anthropic-ratelimit-input-tokens-reset": "2026-11-20T12:00:30Z"}, Headroom(None, Limit(9, 30.0))),
        ({"x-ratelimit-remaining-requests": "0"}, None),
        ({"x-ratelimit-remaining-requests": "-1", "x-ratelimit-reset-requests": "1s"}, None),
    ],
)  # fmt: skip
def test_the_headroom_is_what_the_headers_say(headers, expected):
    assert headroom_in(headers, NOW) == expected


@given(
    st.dictionaries(
        st.sampled_from(["date", *OPENAI, *ANTHROPIC]),
        st.text(max_size=20) | st.from_regex(r"[0-9]{1,6}s?", fullmatch=True),
    )
)
def test_no_header_can_break_it_or_shut_a_target_for_more_than_a_day(headers):
    found = headroom_in(headers, NOW) or Headroom()
    for limit in (found.requests, found.tokens):
        assert limit is None or (limit.left >= 0 and 0.0 <= limit.resets_in_seconds <= LONGEST_SECONDS)


@pytest.mark.parametrize(("status", "kind"), [(200, Answer), (429, Failure), (500, Failure)])
async def test_every_reply_of_every_provider_brings_its_headroom_along(backend, fault_server, outcomes, status, kind):
    fault_server.headers = OPENAI
    fault_server.script(Scripted(status, None if status == 200 else {"error": {}}))

    [outcome] = await outcomes(backend, Call({"messages": [{"role": "user", "content": "Hi"}]}, 30.0))

    assert isinstance(outcome, kind)
    assert outcome.headroom == Headroom(Limit(59, 1.0), Limit(149_984, 360.0))


async def test_a_provider_that_says_nothing_of_limits_brings_none(backend, outcomes):
    [outcome] = await outcomes(backend, Call({"messages": [{"role": "user", "content": "Hi"}]}, 30.0))

    assert outcome.headroom is None


REQUEST = {"messages": [{"role": "user", "content": "Capital of France?"}]}
MINUTE = Provider(base_url="https://fleet.example", requests_per_minute=3, tokens_per_minute=100)
SAID = Answer(message={}, finish_reason="stop", usage=Usage(20, 10), model="m")


def test_own_calls_are_counted_against_the_limits_of_the_entry_until_the_minute_is_over():
    count = OwnCount(MINUTE)
    count.begun(10.0)
    count.ended(SAID, 11.0)
    count.begun(12.0)
    assert count.left(0, 40.0) == Headroom(Limit(1, 30.0), Limit(70, 30.0))
    assert count.left(0, 70.0) == Headroom(Limit(3, 60.0), Limit(100, 60.0))


def test_calls_that_run_are_left_to_be_counted_by_whoever_asks():
    count = OwnCount(MINUTE)
    for _ in range(3):
        count.begun(10.0)
    assert count.left(2, 10.0).requests == Limit(2, 60.0)


@given(st.lists(st.integers(0, 5)), st.integers(0, 99))
def test_no_more_is_left_than_the_limits_and_never_less_than_nothing(waits, running):
    count, now = OwnCount(MINUTE), 0.0
    for wait in waits:
        now += wait
        count.begun(now)
        count.ended(SAID, now)
    left = count.left(running, now)
    assert 0 <= left.requests.left <= 3
    assert 0 <= left.tokens.left <= 100


def test_an_entry_without_limits_counts_nothing():
    assert headroom_of(None, OwnCount(Provider()).left(0, 1.0)) is None


def test_what_the_provider_says_goes_before_what_was_counted():
    said, counted = Headroom(Limit(59, 1.0), None), Headroom(Limit(1, 30.0), Limit(70, 30.0))
    assert headroom_of(said, counted) == Headroom(Limit(59, 1.0), Limit(70, 30.0))
    assert headroom_of(None, counted) == counted


async def test_the_targets_of_a_provider_share_its_limit_and_a_tenants_key_has_its_own(
    fault_server, target, outcomes, keys
):
    entry = replace(MINUTE, base_url=f"{fault_server.url}/v1")
    providers = {"openai": entry}
    settings, ring, count = ProviderSettings(providers=providers), EnvironmentKeyRing(keys, providers), OwnCount(entry)
    one, other = (build(target("openai"), settings, ring, count) for _ in range(2))
    [first] = await outcomes(one, Call(REQUEST, 30.0))
    [second] = await outcomes(other, Call(REQUEST, 30.0))
    [tenants] = await outcomes(one, Call(REQUEST, 30.0, own_key="mine"))
    [third] = await outcomes(one, Call(REQUEST, 30.0))
    await one.close()
    await other.close()
    assert [found.headroom.requests.left for found in (first, second, third)] == [2, 1, 0]
    assert [found.headroom.tokens.left for found in (first, second, third)] == [82, 64, 46]
    assert tenants.headroom is None
