"""The law of completion times is Kaplan and Meier's where there is no prior, and the prior where nothing was seen."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.batched import Observed
from policies.discounts.completion import BATCHES, CompletionLaw, Prior

NO_PRIOR = Prior(420, 3_600, 0.02, weight=1e-9)

SEEN = st.lists(st.builds(Observed, st.floats(1, 100_000), st.booleans()), max_size=30)


def kaplan_meier(observed: list[Observed], seconds: float) -> float:
    """Return the estimate as textbooks have it: a product over the times at which something ended."""
    left = 1.0
    for time in sorted({each.seconds for each in observed if each.ended and each.seconds <= seconds}):
        at_risk = sum(each.seconds >= time for each in observed)
        left *= 1 - sum(each.ended and each.seconds == time for each in observed) / at_risk
    return left


@given(SEEN, st.floats(1, 100_000))
def test_without_a_prior_it_is_the_estimate_of_kaplan_and_meier(observed, seconds):
    last = max((each.seconds for each in observed), default=0.0)
    if seconds < last:  # beyond the last that was seen the textbooks leave it open
        expected = kaplan_meier(observed, seconds)
        assert CompletionLaw(observed, NO_PRIOR).beyond(seconds) == pytest.approx(expected, abs=1e-6)


@given(SEEN, st.lists(st.floats(0, 200_000), min_size=2, max_size=8))
def test_it_is_a_distribution(observed, times):
    law = CompletionLaw(observed, BATCHES)
    beyond = [law.beyond(time) for time in sorted(times)]
    assert all(0 <= each <= 1 for each in beyond)
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(beyond))


def test_before_anything_is_seen_half_end_in_seven_minutes_and_two_in_a_hundred_never():
    law = CompletionLaw((), BATCHES)
    assert law.within(420) == pytest.approx(0.98 / 2)
    assert law.within(3_600) == pytest.approx(0.98 * 0.9)
    assert law.beyond(1e12) == pytest.approx(0.02)


def test_batches_that_still_run_count_for_as_long_as_they_have_run():
    running = [Observed(7_200, ended=False)] * 40
    blind = CompletionLaw((), BATCHES)
    law = CompletionLaw(running, BATCHES)
    assert law.beyond(7_000) > 0.65 > blind.beyond(7_000)
    fresh = CompletionLaw([Observed(1, ended=False)] * 40, BATCHES)
    assert fresh.beyond(7_000) == pytest.approx(blind.beyond(7_000), rel=1e-3)  # what has just begun says nothing


def test_what_was_seen_outweighs_the_prior_in_the_end():
    law = CompletionLaw([Observed(18_000, ended=True)] * 2_000, BATCHES)
    assert law.within(17_000) < 0.02 and law.within(19_000) > 0.98
