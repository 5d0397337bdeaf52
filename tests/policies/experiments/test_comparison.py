"""The bets on two arms: never fooled by looking, and quick to see a difference."""

from __future__ import annotations

import random
from math import comb
from statistics import median

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from policies.experiments.comparison import MOST_WAITING, Comparison

NEEDED = 50.0


def candidates_until_shown(
    seed: int, candidate: float, control: float, jobs: int, tolerance: float = 0.0
) -> int | None:
    rng, comparison = random.Random(seed), Comparison(tolerance)
    for _ in range(jobs):
        is_control = rng.random() >= 0.1
        comparison.add(float(rng.random() < (control if is_control else candidate)), is_control)
        if comparison.highest >= NEEDED:
            return comparison.candidates.n
    return None


def test_a_drop_of_five_points_is_seen_within_three_hundred_jobs_of_a_tenth():
    found = [candidates_until_shown(seed, 0.10, 0.05, 20_000) for seed in range(41)]
    assert None not in found
    assert median(found) <= 300


def test_arms_that_do_not_differ_are_hardly_ever_told_apart_however_often_one_looks():
    found = [candidates_until_shown(seed, 0.05, 0.05, 2_000) for seed in range(150)]
    assert sum(each is not None for each in found) <= 0.05 * len(found)


def test_what_is_tolerated_is_not_held_against_the_candidate():
    assert None not in [candidates_until_shown(seed, 0.30, 0.20, 20_000) for seed in range(20)]
    tolerated = [candidates_until_shown(seed, 0.30, 0.20, 1_000, tolerance=0.1) for seed in range(100)]
    assert sum(each is not None for each in tolerated) <= 0.05 * len(tolerated)


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.25, 1.0])), max_size=60),
    st.sampled_from([0.0, 0.1, -0.05]),
)
@settings(max_examples=60, deadline=None)
def test_the_stake_is_never_lost_whole_whatever_comes(values, tolerance):
    comparison = Comparison(tolerance)
    for is_control, value in values:
        comparison.add(value, is_control)
    assert comparison.evidence > 0.0
    assert comparison.highest >= comparison.evidence


@given(
    st.integers(1, 5), st.integers(1, 5), st.floats(0.0, 1.0), st.floats(0.01, 0.99), st.sampled_from([0.0, 0.1, -0.1])
)
@settings(max_examples=200, deadline=None)
def test_no_bet_on_arms_that_differ_by_what_is_tolerated_gains_on_average(
    candidates, controls, truth, expected, tolerance
):
    """Enumerate every outcome of a block by how many of its values are 1: the stake's expectation is at most 1."""
    comparison, mean = Comparison(tolerance, expected=expected), 0.0
    borne = truth + tolerance
    assume(0.0 <= borne <= 1.0)
    for ones in range(candidates + 1):
        for others in range(controls + 1):
            chance = _binomial(candidates, ones, borne) * _binomial(controls, others, truth)
            values = ([1.0] * ones + [0.0] * (candidates - ones), [1.0] * others + [0.0] * (controls - others))
            mean += chance * comparison.block(*values)
    assert mean <= 1.0 + 1e-9


def _binomial(n: int, k: int, p: float) -> float:
    return comb(n, k) * p**k * (1 - p) ** (n - k)


def test_values_wait_for_the_other_arm_and_the_oldest_go():
    comparison = Comparison()
    for _ in range(MOST_WAITING + 10):
        comparison.add(1.0, False)
    assert comparison.highest == 1.0
    assert len(comparison.candidates.waiting) <= MOST_WAITING


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_value_outside_its_range_is_refused(value):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        Comparison().add(value, True)
