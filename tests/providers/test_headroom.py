"""What providers say is left of their limits, read from their headers and through the real SDKs."""

from __future__ import annotations

import pytest
from fault_server import Scripted
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.attempt import Answer, Failure, Headroom, Limit
from fleet.model.call import Call
from fleet.providers.headroom import headroom_in
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
