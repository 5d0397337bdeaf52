"""Intervals that hold for any distribution."""

from __future__ import annotations

import numpy as np
import pytest

from fleet.lab.weekly.intervals import mean_interval, share_interval, upper_share


def test_the_bound_of_a_share_without_hits_is_that_of_clopper_and_pearson() -> None:
    assert upper_share(np.zeros(59), np.ones(59), 0.05) == pytest.approx(1.0 - 0.05 ** (1 / 59), abs=1e-6)
    assert upper_share(np.zeros(0), np.zeros(0), 0.05) == 1.0
    assert upper_share(np.ones(5), np.ones(5), 0.05) == pytest.approx(1.0)


def test_rows_of_little_weight_say_little() -> None:
    even = upper_share(np.zeros(200), np.ones(200), 0.05)
    uneven = upper_share(np.zeros(200), np.where(np.arange(200) < 20, 1.0, 0.05), 0.05)
    assert even < 0.02 < 0.1 < uneven < 1.0


@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_shares_are_inside_their_intervals_as_often_as_promised(weight: float) -> None:
    """Every second row is drawn half as often, or none; both kinds have hits of their own rate."""
    rng, inside = np.random.default_rng(1), 0
    truth = (0.1 + 0.3) / 2
    for _ in range(300):
        kind = rng.random(600) < 0.5
        drawn = ~kind | (rng.random(600) < weight)
        hits = (rng.random(600) < np.where(kind, 0.3, 0.1)).astype(float)[drawn]
        found = share_interval(hits, np.where(kind, 1.0, weight)[drawn], 0.05)
        inside += found.low <= truth <= found.high
    assert inside >= 0.93 * 300


def test_a_mean_is_inside_its_interval_however_rare_the_costs_are() -> None:
    rng, inside = np.random.default_rng(2), 0
    for _ in range(300):
        found = mean_interval(np.where(rng.random(2000) < 0.01, 5.0, 0.0), 0.0, 5.0, 0.05)
        inside += found.low <= 0.05 <= found.high
    assert inside >= 0.95 * 300
    with pytest.raises(ValueError, match="at least two"):
        mean_interval(np.zeros(1), 0.0, 1.0, 0.05)
