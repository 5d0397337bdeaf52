"""Thresholds keep their promise, and are no stricter than they must be."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.lab.learning.thresholds import (
    budget_threshold,
    fixed_threshold,
    grid_of,
    labels_missing,
    learn_then_test,
    learn_then_test_many,
    losses_of,
    split,
)
from fleet.lab.metrics.bounds import (
    PValue,
    binomial,
    binomial_cdf,
    hoeffding_bentkus,
    largest_passing,
    smallest_n,
)
from fleet.model.calibration import Threshold, ThresholdMode
from fleet.model.errors import ConfigError

RISK, DELTA = 0.05, 0.10
BOUNDS = pytest.mark.parametrize("bound", [hoeffding_bentkus, binomial])


def population(seed: int, n: int = 2_000, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and losses that grow rarer with them."""
    rng = np.random.default_rng(seed)
    confidences = rng.random(n)
    if ties:
        confidences = np.round(confidences, 1)
    return confidences, (rng.random(n) < 0.4 * (1.0 - confidences)).astype(float)


def risk_of(thresholds: np.ndarray, confidences: np.ndarray, losses: np.ndarray) -> np.ndarray:
    return (losses * (confidences >= thresholds[:, None])).mean(axis=1)


@BOUNDS
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [60, 200, 500])
def test_the_promise_is_broken_in_no_more_than_one_of_ten_draws(n: int, ties: bool, bound: PValue) -> None:
    confidences, losses = population(1, ties=ties)
    draws = np.random.default_rng(2).integers(len(losses), size=(2_000, n))
    found = learn_then_test_many(confidences, losses, grid_of(confidences), RISK, DELTA, draws, bound)
    broken = (risk_of(found, confidences, losses) > RISK).mean()
    assert 0.0 < broken <= DELTA
    assert np.isfinite(found).mean() > 0.5


def test_tuning_to_the_sample_without_a_test_breaks_the_promise_about_every_other_time() -> None:
    """What the p-value is there for: the check on the check above."""
    confidences, losses = population(1)
    draws = np.random.default_rng(2).integers(len(losses), size=(500, 200))
    untested: PValue = lambda mean, n, risk: 0.0 if mean <= risk else 1.0  # noqa: E731
    found = learn_then_test_many(confidences, losses, grid_of(confidences), RISK, DELTA, draws, untested)
    assert (risk_of(found, confidences, losses) > RISK).mean() > 0.3


def test_the_promise_holds_with_the_labels_own_confidences_as_grid() -> None:
    confidences, losses = population(3)
    rng = np.random.default_rng(4)
    found = []
    for _ in range(400):
        rows = rng.integers(len(losses), size=200)
        found.append(learn_then_test(confidences[rows], losses[rows], grid_of(confidences[rows]), RISK, DELTA).value)
    assert (risk_of(np.array(found), confidences, losses) > RISK).mean() <= DELTA


def uneven(repeats: int, labels: int, ratio: float = 4.0) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Confidences, losses and weights of labels; those that escalate anyway are drawn `ratio` times as often."""
    confidences, losses = population(5)
    chance = np.where(confidences < 0.4, 1.0, 1.0 / ratio)
    rng = np.random.default_rng(6)
    for _ in range(repeats):
        rows = rng.choice(len(losses), size=labels, p=chance / chance.sum())
        # In the order of tasks, say, and so not by chance.
        rows = rows[np.argsort(confidences[rows])]
        yield confidences[rows], losses[rows], 1.0 / chance[rows]


def test_the_promise_holds_for_labels_drawn_unevenly_if_they_carry_weights() -> None:
    """Losses look rarer than they are, where answers that escalate anyway are drawn more often."""
    confidences, losses = population(5)
    grid = grid_of(confidences)
    weighted, plain = [], []
    for stated, lost, weights in uneven(600, 400):
        weighted.append(learn_then_test(stated, lost, grid, RISK, DELTA, weights=weights).value)
        plain.append(learn_then_test(stated, lost, grid, RISK, DELTA).value)
    assert (risk_of(np.array(weighted), confidences, losses) > RISK).mean() <= DELTA
    assert (risk_of(np.array(plain), confidences, losses) > RISK).mean() > 0.5
    assert np.isfinite(weighted).mean() > 0.9


def test_the_promise_of_uneven_labels_holds_where_every_threshold_that_passes_breaks_it() -> None:
    """All answers share one confidence and lose a hair too much, so the test of a single sum decides."""
    rng = np.random.default_rng(11)
    weights = np.tile([2.0, 1.0, 1.0], 200)
    passed = [
        learn_then_test(np.ones(600), rng.random(600) < 0.0505, [1.0], RISK, DELTA, weights=weights).value < math.inf
        for _ in range(600)
    ]
    assert 0.0 < np.mean(passed) <= DELTA


@pytest.mark.parametrize("labels", [400, 1_000])
def test_a_bet_on_uneven_labels_escalates_less_than_hoeffding_bentkus(labels: int) -> None:
    grid = grid_of(population(5)[0])
    bets, bounds = [], []
    for stated, lost, weights in uneven(30, labels):
        bets.append(learn_then_test(stated, lost, grid, RISK, DELTA, weights=weights).value)
        bounds.append(by_hoeffding_bentkus(stated, lost, weights, grid))
    # Confidences are evenly spread, so that a threshold is the share that escalates.
    escalated, before = (np.minimum(found, 1.0).mean() for found in (bets, bounds))
    assert escalated < before - 0.05


def by_hoeffding_bentkus(stated: np.ndarray, lost: np.ndarray, weights: np.ndarray, grid: np.ndarray) -> float:
    found, scale = math.inf, weights / weights.max()
    for step in grid[::-1]:
        tested = RISK + scale * (lost * (stated >= step) - RISK)
        if hoeffding_bentkus(float(tested.mean()), len(lost), RISK) > DELTA:
            break
        found = float(step)
    return found


def test_a_bet_that_loses_on_few_losses_is_not_saved_by_a_grid_that_leaps_over_them() -> None:
    """Every set of losses on the way down is tested, also those between two steps of a coarse grid."""
    rng = np.random.default_rng(12)
    confidences, weights = np.sort(rng.random(500)), np.tile([3.0, 1.0], 250)
    losses = (rng.random(500) < 0.3 * (1.0 - confidences)).astype(float)
    fine = learn_then_test(confidences, losses, confidences, RISK, DELTA, weights=weights).value
    for step in (0.2, 0.4, 0.8, 0.95):
        coarse = learn_then_test(confidences, losses, [step], RISK, DELTA, weights=weights).value
        assert coarse == (step if step >= fine else math.inf)


def test_the_exact_binomial_escalates_less_than_hoeffding_bentkus() -> None:
    confidences, losses = population(7)
    draws = np.random.default_rng(8).integers(len(losses), size=(300, 200))
    loose, tight = (
        learn_then_test_many(confidences, losses, grid_of(confidences), RISK, DELTA, draws, bound)
        for bound in (hoeffding_bentkus, binomial)
    )
    assert (tight <= loose).all()
    assert tight.mean() < loose.mean() - 0.01


def test_one_draw_of_many_is_what_testing_every_threshold_by_hand_gives() -> None:
    confidences, losses = population(9, n=300, ties=True)
    grid = grid_of(confidences)
    by_hand = math.inf
    for step in grid[::-1]:
        if hoeffding_bentkus(float((losses * (confidences >= step)).mean()), 300, RISK) > DELTA:
            break
        by_hand = float(step)
    found = learn_then_test(confidences, losses, grid, RISK, DELTA)
    assert found.value == by_hand < math.inf
    assert found.safer == learn_then_test(confidences, losses, grid, RISK / 4, DELTA).value >= found.value
    assert (found.mode, found.risk, found.delta, found.labels_missing) == (ThresholdMode.GUARANTEE, RISK, DELTA, 0)


@pytest.mark.parametrize(("n", "missing"), [(1, 44), (30, 15), (44, 1)])
def test_too_few_labels_escalate_all_and_say_how_many_are_missing(n: int, missing: int) -> None:
    """No losses at all: log(0.1) / log(0.95) = 44.9."""
    found = learn_then_test(np.linspace(0.5, 0.9, n), np.zeros(n), [0.6], RISK, DELTA)
    assert (found.value, found.safer, found.labels_missing) == (math.inf, math.inf, missing)


def test_as_many_labels_as_were_missing_are_enough_if_they_lose_as_much() -> None:
    losses = np.array([1.0] + [0.0] * 29)
    missing = learn_then_test(np.ones(30), losses, [1.0], RISK, DELTA).labels_missing
    assert 15 < missing < 1_000
    assert learn_then_test(np.ones(90), np.tile(losses, 3), [1.0], RISK, DELTA).value == math.inf
    whole = smallest_n(1 / 30, RISK, DELTA, hoeffding_bentkus)
    assert whole == 30 + missing
    assert hoeffding_bentkus(math.ceil(whole / 30) / whole, whole, RISK) <= DELTA


def test_labels_of_small_weight_count_little_so_that_more_of_them_are_missing() -> None:
    few = np.tile([20.0, 1.0, 1.0, 1.0, 1.0], 12)
    missing = learn_then_test(np.ones(60), np.zeros(60), [1.0], RISK, DELTA, weights=few).labels_missing
    assert missing == labels_missing(few, RISK, DELTA) > 100
    many = np.resize(few, round(1.2 * (60 + missing)))
    enough = learn_then_test(np.ones(len(many)), np.zeros(len(many)), [1.0], RISK, DELTA, weights=many)
    assert (enough.value, enough.labels_missing, labels_missing(many, RISK, DELTA)) == (1.0, 0, 0)


def test_uneven_labels_that_lose_too_much_are_not_waited_for() -> None:
    weights, losses = np.tile([2.0, 1.0], 200), np.tile([1.0, 0.0, 0.0, 0.0], 100)
    found = learn_then_test(np.ones(400), losses, [1.0], RISK, DELTA, weights=weights)
    assert (found.value, found.labels_missing) == (math.inf, 0)


def test_where_even_the_surest_answers_lose_too_much_no_number_of_labels_is_promised() -> None:
    losses = np.tile([1.0, 0.0, 0.0, 0.0], 100)
    found = learn_then_test(np.ones(400), losses, [1.0], RISK, DELTA)
    assert (found.value, found.labels_missing) == (math.inf, 0)


@pytest.mark.parametrize(("risk", "n"), [(0.05, 45), (0.01, 230)])
def test_the_fewest_labels_that_can_prove_anything(risk: float, n: int) -> None:
    assert smallest_n(0.0, risk, DELTA, hoeffding_bentkus) == n
    assert largest_passing(n, risk, DELTA, hoeffding_bentkus) >= 0.0 > largest_passing(n - 1, risk, DELTA, binomial)


@pytest.mark.parametrize(("k", "n", "p"), [(0, 10, 0.3), (3, 10, 0.3), (10, 10, 0.3), (17, 400, 0.05)])
def test_the_binomial_tail_is_the_sum_of_its_terms(k: int, n: int, p: float) -> None:
    terms = sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))
    assert binomial_cdf(k, n, p) == pytest.approx(terms)


def test_the_binomial_tail_survives_a_hundred_thousand_labels() -> None:
    assert binomial_cdf(5_000, 100_000, 0.05) == pytest.approx(0.504, abs=0.003)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.integers(1, 400), st.floats(0.005, 0.5))
def test_a_p_value_never_falls_with_the_loss_and_the_exact_one_is_smaller(
    one: float, other: float, n: int, risk: float
) -> None:
    low, high = sorted((math.floor(one * n), math.floor(other * n)))
    for bound in (hoeffding_bentkus, binomial):
        assert 0.0 <= bound(low / n, n, risk) <= bound(high / n, n, risk) + 1e-12 <= 1.0 + 1e-9
    assert binomial(low / n, n, risk) <= hoeffding_bentkus(low / n, n, risk) + 1e-12


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.floats(0.01, 0.4), st.floats(0.01, 0.4), st.floats(0.01, 0.5), st.floats(0.01, 0.5))
def test_more_risk_or_less_certainty_never_raises_the_threshold(
    seed: int, one: float, other: float, sure: float, unsure: float
) -> None:
    confidences, losses = population(seed, n=150, ties=seed % 2 == 0)
    (low, high), (small, large) = sorted((one, other)), sorted((sure, unsure))
    strict = learn_then_test(confidences, losses, grid_of(confidences), low, small)
    loose = learn_then_test(confidences, losses, grid_of(confidences), high, large)
    assert loose.value <= strict.value <= strict.safer


@pytest.mark.parametrize(
    ("weak", "strong", "loss"), [(True, True, 0.0), (True, False, 0.0), (False, True, 1.0), (False, False, 0.0)]
)
def test_only_an_error_the_strong_target_would_have_avoided_is_a_loss(weak: bool, strong: bool, loss: float) -> None:
    assert losses_of([weak], [strong]) == [loss]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"confidences": []}, "confidences"),
        ({"confidences": [0.5, math.nan]}, "confidences"),
        ({"losses": [0.0]}, "losses"),
        ({"losses": [0.0, 1.5]}, "losses"),
        ({"losses": [0.0, 0.5], "p_value": binomial}, "losses"),
        ({"grid": []}, "grid"),
        ({"risk": 0.0}, "risk"),
        ({"risk": math.nan}, "risk"),
        ({"delta": 1.0}, "delta"),
        ({"weights": [1.0]}, "weights"),
        ({"weights": [1.0, 0.0]}, "weights"),
    ],
)
def test_what_cannot_be_tested_is_refused_by_field(changes: dict[str, object], field: str) -> None:
    plain: dict[str, object] = {
        "confidences": [0.5, 0.6],
        "losses": [0.0, 1.0],
        "grid": [0.5],
        "risk": RISK,
        "delta": DELTA,
    }
    with pytest.raises(ConfigError) as refused:
        learn_then_test(**{**plain, **changes})  # type: ignore[arg-type]
    assert refused.value.field == field


@given(st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.9, 1.0]), min_size=1), st.floats(0.0, 1.0))
def test_a_budget_is_never_exceeded_and_no_higher_threshold_would_keep_it(values: list[float], rate: float) -> None:
    found = budget_threshold(values, rate).value
    confidences = np.array(values)
    assert (confidences < found).mean() <= rate + 1e-9
    if math.isfinite(found) and rate * len(values) >= 1.0:
        assert (confidences <= found).mean() > rate - 1e-9


@pytest.mark.parametrize(("rate", "value"), [(0.0, 0.0), (0.25, 0.4), (0.5, 0.6), (1.0, math.inf)])
def test_a_budget_threshold_lies_on_the_first_answer_that_is_kept(rate: float, value: float) -> None:
    assert budget_threshold([0.8, 0.2, 0.6, 0.4], rate) == Threshold(ThresholdMode.BUDGET, value, value)


def test_a_fixed_threshold_is_what_it_is_told_to_be() -> None:
    assert fixed_threshold(0.7) == Threshold(ThresholdMode.FIXED, 0.7, 0.7)


@pytest.mark.parametrize(("call", "field"), [
    (lambda: budget_threshold([0.5], 1.1), "escalation_rate"),
    (lambda: fixed_threshold(math.nan), "threshold"),
    (lambda: split(RISK, DELTA, 0), "tiers"),
    (lambda: split(RISK, 0.0, 2), "delta"),
])  # fmt: skip
def test_numbers_out_of_range_are_refused_by_field(call: object, field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        call()  # type: ignore[operator]
    assert refused.value.field == field


def test_tiers_share_risk_and_delta() -> None:
    assert split(0.06, 0.09, 3) == (pytest.approx(0.02), pytest.approx(0.03))
