"""Alarms when traffic is no longer what a calibration was fitted on, and only then."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.confidence.drift import CUSTOMARY_PSI, FEWEST, WINDOW, DriftDetector, LossTest, bins_of, psi, psi_limit

EDGES = tuple(place / 10 for place in range(1, 10))


def edges_of(values: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, np.quantile(values, np.arange(1, 10) / 10, method="inverted_cdf")))


def first_alarm(values: np.ndarray, edges: tuple[float, ...], labels: int) -> int | None:
    drift = DriftDetector()
    for number, value in enumerate(values, 1):
        drift = drift.observe(float(value), edges)
        if drift.alarm(labels):
            return number
    return None


def smooth(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.beta(3.0, 1.0, n)


def one_token(n: int, rng: np.random.Generator) -> np.ndarray:
    """Half of the answers are as sure as can be, the others take one of few values."""
    return np.where(rng.random(n) < 0.5, 0.999, np.round(rng.random(n), 1))


@pytest.mark.parametrize("world", [smooth, one_token])
def test_the_same_traffic_raises_no_alarm(world) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(1)
    alarms = [first_alarm(world(2_000, rng), edges_of(world(200, rng)), 200) for _ in range(20)]
    assert sum(alarm is not None for alarm in alarms) <= 1


@pytest.mark.parametrize(("one", "other"), [(smooth, one_token), (one_token, smooth)])
def test_other_traffic_raises_one_within_two_hundred_answers(one, other) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(2)
    for _ in range(20):
        alarm = first_alarm(other(400, rng), edges_of(one(200, rng)), 200)
        assert alarm is not None and FEWEST <= alarm <= 200


def test_a_shift_after_a_long_quiet_time_is_still_seen() -> None:
    rng = np.random.default_rng(3)
    edges, quiet = edges_of(smooth(500, rng)), 4_000
    alarm = first_alarm(np.concatenate((smooth(quiet, rng), smooth(1_000, rng) ** 3)), edges, 500)
    assert alarm is not None and quiet < alarm < quiet + WINDOW


def test_an_alarm_waits_for_enough_answers() -> None:
    assert first_alarm(np.zeros(FEWEST - 1), EDGES, 1_000) is None
    assert first_alarm(np.zeros(2 * FEWEST), EDGES, 1_000) == FEWEST + 1


def test_a_calibration_without_edges_is_not_watched() -> None:
    assert DriftDetector().observe(0.5, ()) == DriftDetector()


@pytest.mark.parametrize(
    ("confidence", "edges", "expected"),
    [
        (0.05, EDGES, {0: 1.0}),
        (0.55, EDGES, {5: 1.0}),
        (0.95, EDGES, {9: 1.0}),
        (0.5, EDGES, {4: 0.5, 5: 0.5}),
        (0.9, (0.1, 0.2, 0.3, 0.4, 0.9, 0.9, 0.9, 0.9, 0.95), {4: 0.125, 5: 0.25, 6: 0.25, 7: 0.25, 8: 0.125}),
        (0.7, (0.7,) * 9, {0: 1 / 18, **dict.fromkeys(range(1, 9), 1 / 9), 9: 1 / 18}),
    ],
)
def test_a_value_that_many_share_fills_the_bins_it_bounds(
    confidence: float, edges: tuple[float, ...], expected: dict[int, float]
) -> None:
    assert dict(bins_of(confidence, edges)) == pytest.approx(expected)


@given(st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9, 0.99, 1.0]), min_size=30, max_size=300))
def test_no_number_of_ties_makes_a_calibration_drift_from_itself(values: list[float]) -> None:
    edges = edges_of(np.array(values))
    counts = [0.0] * 10
    for value in values:
        found = bins_of(value, edges)
        assert sum(share for _, share in found) == pytest.approx(1.0)
        for place, share in found:
            counts[place] += share
    assert psi(counts) < CUSTOMARY_PSI


def test_psi_is_the_sum_over_bins_of_difference_times_log_ratio() -> None:
    p, q = (30.5 / 101, 70.5 / 101), (0.6, 0.4)
    expected = sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert psi((30, 70), (6, 4)) == pytest.approx(expected)
    assert psi((5,) * 10) == pytest.approx(0.0)


@pytest.mark.parametrize("reference", [(1.0,), (1.0, 0.0)])
def test_a_reference_with_an_empty_or_missing_bin_is_refused(reference: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="reference"):
        psi((1, 2), reference)


@given(st.lists(st.integers(0, 1_000), min_size=10, max_size=10))
def test_psi_is_never_negative_and_finite_for_empty_bins(counts: list[int]) -> None:
    assert -1e-12 <= psi(counts) < math.inf


@given(st.integers(50, 10_000), st.integers(20, 10_000))
def test_the_limit_falls_with_either_number_but_not_below_what_is_customary(n: int, labels: int) -> None:
    assert psi_limit(n + 1, labels) <= psi_limit(n, labels)
    assert psi_limit(n, labels + 1) <= psi_limit(n, labels)
    assert psi_limit(n, labels) > CUSTOMARY_PSI


def test_the_limit_is_what_chance_exceeds_once_in_ten_thousand() -> None:
    """The chi-square quantile of 9 degrees of freedom at 0.9999 is 33.72."""
    assert psi_limit(50, 50) == pytest.approx(33.72 * 0.04, rel=0.02)


def bets(mean: float, n: int, rng: np.random.Generator) -> int | None:
    test = LossTest(0.05)
    for number in range(1, n + 1):
        test = test.after(float(rng.random() < mean))
        if test.alarm():
            return number
    return None


def test_a_kept_promise_is_withdrawn_in_no_more_than_one_of_twenty_streams() -> None:
    rng = np.random.default_rng(4)
    assert sum(bets(0.05, 1_000, rng) is not None for _ in range(200)) <= 10


def test_a_broken_promise_is_found() -> None:
    rng = np.random.default_rng(5)
    found = [bets(0.15, 1_000, rng) for _ in range(50)]
    assert all(found)
    assert np.median([each for each in found if each]) < 120


def test_answers_drawn_twice_as_often_do_not_count_twice() -> None:
    """Losses are all among answers drawn twice as often: the drawn mean is 0.064, the traffic's 0.048."""
    rng = np.random.default_rng(6)

    def found(weight: float) -> bool:
        test = LossTest(0.05)
        for _ in range(2_000):
            often = rng.random() < 2 / 3
            test = test.after(float(often and rng.random() < 0.096), weight if often else 1.0)
        return test.alarm()

    assert sum(found(0.5) for _ in range(40)) <= 4
    assert sum(found(1.0) for _ in range(40)) >= 10


@given(st.lists(st.floats(0.0, 1.0), max_size=60), st.floats(0.01, 0.5))
def test_wealth_stays_positive_whatever_the_losses(losses: list[float], risk: float) -> None:
    test = LossTest(risk)
    for loss in losses:
        test = test.after(loss)
    assert test.wealth > 0.0
    assert test.n == len(losses)


def test_nobody_bets_all_on_losses_that_never_varied() -> None:
    test = LossTest(0.05)
    for _ in range(5_000):
        test = test.after(0.06)
    assert test.after(0.0).wealth >= test.wealth / 2


@given(st.lists(st.sampled_from([0.0, 1.0]), max_size=40), st.floats(0.02, 0.4))
def test_a_bet_is_fair_where_the_promise_is_just_kept(losses: list[float], risk: float) -> None:
    """E[wealth after] = wealth: what Ville's inequality rests on."""
    test = LossTest(risk)
    for loss in losses:
        test = test.after(loss)
    expected = risk * test.after(1.0).wealth + (1.0 - risk) * test.after(0.0).wealth
    assert expected == pytest.approx(test.wealth)


@pytest.mark.parametrize(("loss", "weight"), [(-0.1, 1.0), (1.1, 1.0), (math.nan, 1.0), (0.5, 0.0), (0.5, 2.0)])
def test_a_loss_out_of_range_is_refused(loss: float, weight: float) -> None:
    with pytest.raises(ValueError, match="loss"):
        LossTest(0.05).after(loss, weight)
