"""A cheaper way is taken where the deadline leaves time for it, and the verdict says why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.batch_lane import measure
from fleet.model.batched import Observed
from policies.discounts.choice import Offer, Way, Why, choose
from policies.discounts.completion import BATCHES, CALLS, CompletionLaw, Prior

CALL = CompletionLaw((), CALLS)
BATCH = CompletionLaw((), BATCHES)
STUCK = CompletionLaw([Observed(80_000, ended=False)] * 2_000, BATCHES)
HOUR = 3_600.0


@pytest.mark.parametrize(
    ("offer", "way", "why"),
    [
        (Offer(HOUR, CALL), Way.NOW, Why.NOT_OFFERED),
        (Offer(899, CALL, flex=True), Way.NOW, Why.LITTLE_SLACK),
        (Offer(900, CALL, flex=True), Way.FLEX, Why.TIME_TO_SPARE),
        (Offer(HOUR, CALL, flex=True, batch=BATCH), Way.FLEX, Why.TIME_TO_SPARE),
        (Offer(600, CALL, flex=True, batch=BATCH), Way.BATCH, Why.WITHIN_PROMISE),
        (Offer(HOUR, CALL, batch=BATCH), Way.BATCH, Why.WITHIN_PROMISE),
        (Offer(24 * HOUR, CALL, batch=BATCH), Way.BATCH, Why.WITHIN_PROMISE),
        (Offer(10, CALL, batch=BATCH), Way.NOW, Why.WOULD_MISS),
        (Offer(24 * HOUR, CALL, batch=BATCH, promise=0.0), Way.NOW, Why.WOULD_MISS),
        (Offer(HOUR, CALL, batch=STUCK), Way.NOW, Why.NO_CHEAPER),
    ],
)
def test_the_way_follows_from_the_slack(offer, way, why):
    verdict = choose(offer)
    assert (verdict.way, verdict.why) == (way, why)


def test_a_batch_of_a_day_for_a_job_of_an_hour_is_given_up_in_time_for_a_call():
    verdict = choose(Offer(HOUR, CALL, batch=BATCH))
    assert verdict.fallback_seconds is not None
    assert 20 < verdict.fallback_seconds < 600
    assert CALL.within(verdict.fallback_seconds) > 0.95


def test_the_slower_calls_at_once_are_the_sooner_a_batch_is_given_up():
    slow = CompletionLaw((), Prior(120, 300, 0.005, 20))
    soon, late = choose(Offer(HOUR, slow, batch=BATCH)), choose(Offer(HOUR, CALL, batch=BATCH))
    assert soon.fallback_seconds > late.fallback_seconds


@given(st.floats(1, 200_000), st.floats(0, 0.2), st.floats(0, 1), st.booleans())
def test_no_batch_breaks_the_promise_or_costs_more_than_a_call(slack, promise, share, has_seen):
    law = STUCK if has_seen else BATCH
    verdict = choose(Offer(slack, CALL, batch=law, finished_share=share, promise=promise))
    if verdict.way is Way.BATCH:
        assert verdict.miss <= promise and verdict.price < 1
        assert 0 < verdict.fallback_seconds < slack
    assert verdict == choose(Offer(slack, CALL, batch=law, finished_share=share, promise=promise))


@given(st.floats(900, 200_000))
def test_more_time_never_makes_a_batch_dearer(slack):
    offer = Offer(slack, CALL, batch=BATCH)
    assert choose(replace(offer, slack_seconds=2 * slack)).price <= choose(offer).price + 0.005


def test_the_simulated_price_is_within_five_percent_of_hindsight_and_the_misses_within_the_promise():
    figures = measure(draws=2, batches=300, seed=3)
    assert figures["usual.choice.over_hindsight"] <= 1.05
    assert all(figures[f"{scene}.choice.missed"] <= 0.01 for scene in ("usual", "slow", "stuck"))
