"""Intervals of shares hold for few answers, and a model is good enough only where that is proven."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.reports.shares import Share, good_enough, pooled, weighted, wilson

VOTES = st.lists(st.tuples(st.floats(1.0, 1000.0), st.booleans()), min_size=1, max_size=50)


def share(n: int, good: float) -> Share:
    return Share(n, float(n), good, *wilson(good, n))


@pytest.mark.parametrize(
    ("good", "n", "low", "high"),
    [
        # Newcombe 1998, table I: Wilson's score method without continuity correction.
        (81 / 263, 263, 0.2553, 0.3662),
        (15 / 148, 148, 0.0624, 0.1605),
        (0.0, 20, 0.0, 0.1611),
        (1 / 29, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_that_of_the_literature(good: float, n: int, low: float, high: float) -> None:
    assert wilson(good, n) == pytest.approx((low, high), abs=6e-5)


@given(VOTES)
def test_a_share_lies_in_its_interval_and_weights_never_make_it_surer(votes: list[tuple[float, bool]]) -> None:
    found = weighted(votes)
    assert found is not None
    assert 0.0 <= found.low <= found.share <= found.high <= 1.0
    assert 1.0 - 1e-9 <= found.effective_n <= found.n + 1e-9


def test_nothing_is_known_without_votes() -> None:
    assert weighted([]) is None
    assert pooled([]) is None


def test_groups_together_are_the_share_of_all_their_answers() -> None:
    assert pooled([share(100, 0.9), share(300, 0.5)]) == share(400, 0.6)


@pytest.mark.parametrize(
    ("model", "fleet", "verdict"),
    [
        (share(2000, 0.97), share(2000, 0.95), True),
        (share(2000, 0.80), share(2000, 0.95), False),
        (share(100, 0.95), share(100, 0.95), None),  # too few to tell
        (share(29, 1.0), share(2000, 0.5), None),
        (share(2000, 1.0), share(29, 0.5), None),
        (None, share(2000, 0.95), None),
        (share(2000, 0.95), None, None),
    ],
)
def test_a_model_is_good_enough_or_not_only_where_that_is_proven(
    model: Share | None, fleet: Share | None, verdict: bool | None
) -> None:
    assert good_enough(model, fleet) is verdict
