"""How long a provider asks us to stay away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.providers.retry_after import LONGEST_SECONDS, retry_after_seconds

NOW = 1_795_176_000.0  # Fri, 20 Nov 2026 12:00:00 GMT
USED_UP = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m2.5s"}


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
    ],
)
def test_the_wait_is_what_the_headers_say(headers, seconds):
    assert retry_after_seconds(headers, NOW) == seconds


@given(st.dictionaries(st.sampled_from(["retry-after", "date", *USED_UP]), st.text()))
def test_no_header_can_break_it_or_ask_for_more_than_a_day(headers):
    wait = retry_after_seconds(headers, NOW)
    assert wait is None or 0.0 <= wait <= LONGEST_SECONDS
