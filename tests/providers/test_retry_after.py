"""How long a provider asks us to stay away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.providers.retry_after import LONGEST_SECONDS, retry_after_seconds

NOW = 1_795_176_000.0  # Fri, 20 Nov 2026 12:00:00 GMT
USED_UP = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m2.5s"}


ANTHROPIC = {
    "anthropic-ratelimit-requests-remaining": "7",
    "anthropic-ratelimit-requests-reset": "2026-11-20T12:09:00Z",
    "anthropic-ratelimit-input-tokens-remaining": "0",
    "anthropic-ratelimit-input-tokens-reset": "2026-11-20T12:00:30Z",
}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": " 0.25 "}, 0.25),
        ({"retry-after": "-4"}, 0.0),
        ({"retry-after": "1e12"}, LONGEST_SECONDS),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:10 GMT"}, 10.0),
        ({"retry-after": "Fri, 20 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:10 GMT", "date": "Fri, 20 Nov 2026 12:00:06 GMT"}, 4.0),
        (USED_UP, 62.5),
        (USED_UP | {"retry-after": "2"}, 2.0),
        (USED_UP | {"x-ratelimit-remaining-tokens": "5"}, None),
        (USED_UP | {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1h0m1s"}, 3601.0),
        (USED_UP | {"x-ratelimit-reset-tokens": "20ms"}, 0.02),
        (USED_UP | {"x-ratelimit-reset-tokens": "whenever"}, None),
        (USED_UP | {"x-ratelimit-reset-tokens": ""}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "1e3"}, 1.0),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "-1"}, 0.0),
        ({"retry-after-ms": "9" * 60}, LONGEST_SECONDS),
        ({"retry-after-ms": "9" * 400}, None),
        ({"retry-after": "20s"}, 20.0),
        ({"retry-after": "2026-11-20T12:00:10Z"}, 10.0),
        ({"retry-after": "2026-11-20T13:00:10+01:00"}, 10.0),
        ({"retry-after": "2026-11-20T12:00:10"}, 10.0),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:10 -0000"}, 10.0),
        ({"retry-after": "Friday, 20-Nov-26 12:00:10 GMT"}, 10.0),
        ({"retry-after": "3, 5"}, 5.0),
        ({"retry-after": "soon", **USED_UP}, 62.5),
        ({"retry-after": "0"}, 0.0),
        (USED_UP | {"x-ratelimit-reset-tokens": "20s"}, 20.0),
        (USED_UP | {"x-ratelimit-reset-tokens": "0"}, 0.0),
        (USED_UP | {"x-ratelimit-reset-tokens": "0s"}, 0.0),
        (USED_UP | {"x-ratelimit-reset-tokens": "59.7"}, 59.7),
        (USED_UP | {"x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        (USED_UP | {"x-ratelimit-reset-tokens": "2h3m"}, 7380.0),
        (USED_UP | {"x-ratelimit-reset-tokens": "1d2h3m"}, LONGEST_SECONDS),
        (USED_UP | {"x-ratelimit-reset-tokens": "1.5s"}, 1.5),
        (USED_UP | {"x-ratelimit-reset-tokens": "12ms"}, 0.012),
        (USED_UP | {"x-ratelimit-reset-tokens": "250µs"}, 0.00025),
        (USED_UP | {"x-ratelimit-reset-tokens": "-5s"}, None),
        (USED_UP | {"x-ratelimit-reset-tokens": "-5"}, 0.0),
        (USED_UP | {"x-ratelimit-reset-tokens": "5 apples"}, None),
        (USED_UP | {"x-ratelimit-reset-tokens": "2026-11-20T12:00:10Z"}, 10.0),
        (USED_UP | {"x-ratelimit-remaining-tokens": "-3"}, 62.5),
        (USED_UP | {"x-ratelimit-remaining-tokens": "none"}, None),
        (ANTHROPIC, 30.0),
        (ANTHROPIC | {"date": "Fri, 20 Nov 2026 12:00:20 GMT"}, 10.0),
        (ANTHROPIC | {"anthropic-ratelimit-input-tokens-reset": "2026-11-20T12:00:30.5Z"}, 30.5),
        (ANTHROPIC | {"anthropic-ratelimit-input-tokens-reset": "0000-11-20T12:00:30Z"}, None),
        (ANTHROPIC | {"anthropic-ratelimit-input-tokens-reset": "9999-12-31T23:59:59Z"}, LONGEST_SECONDS),
        (ANTHROPIC | {"retry-after": "7"}, 7.0),
    ],
)
def test_the_wait_is_what_the_headers_say(headers, seconds):
    assert retry_after_seconds(headers, NOW) == seconds


VALUES = (
    st.text(max_size=20)
    | st.from_regex(r"-?[0-9]{0,5}(\.[0-9]+)?(ms|[dhms])?", fullmatch=True)
    | st.datetimes().map(str)
)


@given(st.dictionaries(st.sampled_from(["retry-after-ms", "retry-after", "date", *USED_UP, *ANTHROPIC]), VALUES))
def test_no_header_can_break_it_or_ask_for_more_than_a_day(headers):
    wait = retry_after_seconds(headers, NOW)
    assert wait is None or 0.0 <= wait <= LONGEST_SECONDS
