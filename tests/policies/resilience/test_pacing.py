"""Provider limits: when another call is wanted, for all who share the account."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.attempt import Answer, Failure, FailureKind, Headroom, Limit, Usage
from policies.resilience.pacing import LONG_SECONDS, Meter, after, calls, opens_in

NOW = 1_000.0


def answered(headroom):
    return Answer({"content": "Yes."}, "stop", Usage(), "m", headroom=headroom)


def limited(seconds):
    return Failure(FailureKind.RATE_LIMITED, "slow down", retry_after_seconds=seconds)


THREE_REQUESTS = Headroom(requests=Limit(3, 20.0))
TOKENS = Headroom(tokens=Limit(1000, 20.0))


@pytest.mark.parametrize(
    ("outcome", "in_flight", "tokens", "seconds", "expected"),
    [
        (answered(None), 50, 1e9, 0, math.inf),
        (answered(THREE_REQUESTS), 0, 0, 0, 3),
        (answered(THREE_REQUESTS), 2, 0, 0, 1),
        (answered(THREE_REQUESTS), 3, 0, 0, 0),
        (answered(THREE_REQUESTS), 9, 0, 19.9, 0),
        (answered(THREE_REQUESTS), 9, 0, 20, math.inf),
        (answered(TOKENS), 5, 999, 0, math.inf),
        (answered(TOKENS), 5, 1000, 0, 0),
        (answered(TOKENS), 5, 1000, 20, math.inf),
        (limited(5.0), 0, 0, 4.9, 0),
        (limited(5.0), 0, 0, 5.0, math.inf),
        (limited(None), 0, 0, 0, math.inf),
        (Failure(FailureKind.SERVER_ERROR, "oops", retry_after_seconds=5.0), 0, 0, 0, math.inf),
    ],
)
def test_calls_are_made_while_what_is_left_is_not_used_up(outcome, in_flight, tokens, seconds, expected):
    assert calls(after(Meter(), outcome, NOW), in_flight, tokens, NOW + seconds) == expected


def test_what_was_heard_last_counts_and_a_reply_without_limits_changes_nothing():
    meter = after(after(Meter(), answered(Headroom(Limit(0, 60.0))), NOW), answered(THREE_REQUESTS), NOW + 1)
    assert after(meter, answered(None), NOW + 2) == meter
    assert calls(meter, 0, 0, NOW + 1) == 3


def test_a_shorter_pause_never_ends_a_longer_one():
    meter = after(after(Meter(), limited(9.0), NOW), limited(1.0), NOW)
    assert calls(meter, 0, 0, NOW + 8) == 0


@pytest.mark.parametrize(("seconds", "shut"), [(LONG_SECONDS, False), (LONG_SECONDS + 1, True)])
def test_only_for_a_long_pause_jobs_look_elsewhere(seconds, shut):
    meter = after(Meter(), limited(seconds), NOW)
    assert meter.shut_until_at == (NOW + seconds if shut else 0.0)


counts = st.integers(0, 50)
seconds = st.floats(0, 100)
headrooms = st.builds(
    Headroom, st.none() | st.builds(Limit, counts, seconds), st.none() | st.builds(Limit, counts, seconds)
)
outcomes = st.builds(answered, st.none() | headrooms) | st.builds(limited, st.none() | seconds)


@given(st.lists(outcomes, max_size=6), counts, counts, st.floats(0, 200))
def test_a_target_that_is_held_back_opens_by_itself_in_the_end(heard, in_flight, tokens, later):
    meter = Meter()
    for outcome in heard:
        meter = after(meter, outcome, NOW)
    now = NOW + later
    for _ in range(4):
        wait = opens_in(meter, now)
        if wait is None:
            break
        assert wait > 0
        now += wait
    assert calls(meter, in_flight, tokens, now + 1e-6) == math.inf


@given(headrooms, counts, counts)
def test_more_in_flight_never_allows_more_calls(headroom, one, other):
    meter = after(Meter(), answered(headroom), NOW)
    few, many = sorted((one, other))
    assert calls(meter, many, many, NOW) <= calls(meter, few, few, NOW)
