"""The schedule of webhooks: Standard Webhooks' own, and what a receiver may ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.webhooks import (
    BUSY,
    JITTER,
    MOST_RETRY_AFTER_SECONDS,
    PAUSE_SECONDS,
    SCHEDULE_SECONDS,
    Arrived,
    EndpointGone,
    NextAttempt,
    NoMoreAttempts,
    WebhookReply,
    after_attempt,
    look_again_seconds,
)

NOW = 1_000_000.0
LAST = len(SCHEDULE_SECONDS) + 1
FAILED = WebhookReply(500)


def due_at(attempt: int, reply: WebhookReply, jitter: float = 0.0) -> float:
    verdict = after_attempt(attempt, reply, NOW, jitter)
    assert isinstance(verdict, NextAttempt)
    return verdict.due_at


def test_the_schedule_is_that_of_standard_webhooks() -> None:
    waits = [due_at(attempt, FAILED) - NOW for attempt in range(1, LAST)]
    minute, hour = 60.0, 3600.0
    assert waits == [5, 5 * minute, 30 * minute, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour]


def test_after_the_tenth_attempt_there_is_none() -> None:
    assert LAST == 10
    assert after_attempt(LAST, FAILED, NOW, 0.0) == NoMoreAttempts()


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_only_a_status_of_two_hundred_is_success(status: int) -> None:
    assert after_attempt(1, WebhookReply(status), NOW, 0.0) == Arrived()


@pytest.mark.parametrize("status", [100, 199, 300, 301, 302, 307, 400, 401, 404, 409, 429, 500, 502, 503, 504, None])
def test_everything_else_is_tried_again_a_redirect_too(status: int | None) -> None:
    assert due_at(1, WebhookReply(status, problem=None if status else "timeout")) > NOW


@pytest.mark.parametrize("attempt", [1, LAST])
def test_gone_ends_the_endpoint(attempt: int) -> None:
    assert after_attempt(attempt, WebhookReply(410), NOW, 0.0) == EndpointGone()


@given(st.integers(1, LAST - 1), st.floats(0, 1))
def test_jitter_makes_a_wait_longer_by_a_fifth_at_most(attempt: int, jitter: float) -> None:
    wait = SCHEDULE_SECONDS[attempt - 1]
    assert NOW + wait <= due_at(attempt, FAILED, jitter) <= NOW + wait * (1 + JITTER) + 1e-6


def test_a_receiver_may_ask_for_more_time_and_not_for_less() -> None:
    assert due_at(1, WebhookReply(503, retry_after_seconds=900.0)) == NOW + 900
    assert due_at(2, WebhookReply(503, retry_after_seconds=1.0)) == NOW + 300


@pytest.mark.parametrize("seconds", [1e12, float("inf")])
def test_a_receiver_may_ask_for_a_day_at_most(seconds: float) -> None:
    assert due_at(1, WebhookReply(429, retry_after_seconds=seconds)) == NOW + MOST_RETRY_AFTER_SECONDS


@pytest.mark.parametrize("status", sorted(BUSY))
def test_a_busy_receiver_is_left_alone_for_as_long_as_it_says_or_for_half_a_minute(status: int) -> None:
    silent = after_attempt(1, WebhookReply(status), NOW, 0.0)
    asking = after_attempt(1, WebhookReply(status, 120.0), NOW, 0.0)
    assert isinstance(silent, NextAttempt) and isinstance(asking, NextAttempt)
    assert (silent.pause_seconds, asking.pause_seconds) == (PAUSE_SECONDS, 120.0)


@pytest.mark.parametrize("reply", [WebhookReply(500), WebhookReply(503, 60.0), WebhookReply(problem="timeout")])
def test_other_failures_pause_nothing_else(reply: WebhookReply) -> None:
    verdict = after_attempt(1, reply, NOW, 0.0)
    assert isinstance(verdict, NextAttempt) and verdict.pause_seconds == 0.0


@given(st.floats(0, 1e6))
def test_a_result_is_looked_for_often_at_first_and_every_half_minute_at_last(waited: float) -> None:
    assert 0.25 <= look_again_seconds(waited) <= 30.0
    assert look_again_seconds(waited) <= max(0.25, waited / 8)
