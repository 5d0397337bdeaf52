"""Metrics of a confidence: by hand, against their definition, and on forecasters whose quality is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.lab.metrics import metrics

Pairs = list[tuple[float, int]]

PAIRS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.2, 0.25, 0.5, 0.8, 1.0]) | st.floats(0, 1), st.integers(0, 1)),
    min_size=1,
    max_size=60,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@given(PAIRS)
def test_auroc_is_the_share_of_pairs_in_the_right_order(pairs: Pairs) -> None:
    good = [score for score, label in pairs if label]
    bad = [score for score, label in pairs if not label]
    measured = metrics.auroc(*zip(*pairs, strict=True))
    if not good or not bad:
        assert measured is None
        return
    won = sum((g > b) + 0.5 * (g == b) for g in good for b in bad)
    assert measured == pytest.approx(won / (len(good) * len(bad)))


@pytest.mark.parametrize(
    ("score", "good", "expected"),
    [
        ([0.9, 0.8, 0.1], [1, 1, 0], 1.0),
        ([0.9, 0.8, 0.1], [1, 0, 1], (1 + 2 / 3) / 2),
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0], 0.25),
        ([0.5, 0.5], [0, 0], None),
    ],
)
def test_auprc_by_hand(score: list[float], good: list[int], expected: float | None) -> None:
    assert metrics.auprc(score, good) == (None if expected is None else pytest.approx(expected))


def test_brier_and_its_constant_baseline() -> None:
    good = [1, 1, 0, 1]
    assert metrics.brier([1, 0.5, 0.5, 1], good) == pytest.approx(0.125)
    assert metrics.brier_constant(good) == pytest.approx(0.75 * 0.25)


def test_ece_by_hand() -> None:
    # two bins: stated 0.2 and 0.9 on average, true 0.5 and 0.5
    stated, good = [0.1, 0.3, 0.8, 1.0], [0, 1, 1, 0]
    assert metrics.reliability(stated, good, bins=2) == (
        metrics.Bin(2, pytest.approx(0.2), 0.5),
        metrics.Bin(2, pytest.approx(0.9), 0.5),
    )
    assert metrics.ece(stated, good, bins=2) == pytest.approx(0.5 * 0.3 + 0.5 * 0.4)


@given(PAIRS)
def test_equal_probabilities_share_a_bin_and_no_answer_is_lost(pairs: Pairs) -> None:
    stated, good = zip(*pairs, strict=True)
    bins = metrics.reliability(stated, good)
    assert sum(found.count for found in bins) == len(pairs)
    assert len(bins) <= metrics.BINS
    assert metrics.ece(stated, good) == pytest.approx(
        sum(found.count * abs(found.confidence - found.good) for found in bins) / len(pairs)
    )
    heaviest = max(stated.count(value) for value in stated)
    assert max(found.count for found in bins) >= heaviest


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_change_the_ece(pairs: Pairs, shuffler: object) -> None:
    shuffled = list(pairs)
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined]
    before, after = (metrics.ece(*zip(*rows, strict=True)) for rows in (pairs, shuffled))
    assert after == pytest.approx(before)


def test_bins_have_equal_mass_where_nothing_is_tied() -> None:
    stated = rng().random(150)
    assert [found.count for found in metrics.reliability(stated, stated)] == [10] * 15


def test_a_perfect_forecaster_shows_the_floor_and_an_overconfident_one_more() -> None:
    random = rng()
    stated = random.uniform(0.3, 1, size=20_000)
    good = random.random(20_000) < stated
    floor = metrics.ece_floor(stated, random)
    assert metrics.ece(stated, good) == pytest.approx(floor, abs=0.005)
    assert metrics.ece(stated**0.3, good) > 10 * floor


def test_the_floor_is_the_mean_ece_of_drawn_labels_and_falls_with_the_number_of_answers() -> None:
    random = rng()
    stated = np.round(random.random(90), 1)
    drawn = [metrics.ece(stated, random.random(90) < stated) for _ in range(2000)]
    assert metrics.ece_floor(stated, random, draws=2000) == pytest.approx(np.mean(drawn), rel=0.03)
    assert metrics.ece_floor(np.tile(stated, 100), random) < 0.2 * metrics.ece_floor(stated, random)


def test_the_share_of_kept_answers_that_are_wrong() -> None:
    assert metrics.kept_wrong([True, True, False], [1, 0, 0]) == pytest.approx(0.5)
    assert metrics.kept_wrong([False, False], [1, 0]) is None


def test_the_bootstrap_interval_covers_the_mean_as_often_as_it_says() -> None:
    random, covered = rng(), 0
    for _ in range(200):
        sample = random.random(80) < 0.7
        interval = metrics.bootstrap_ci(lambda rows: float(rows.mean()), [sample], random, resamples=200)
        assert interval is not None
        covered += interval[0] <= 0.7 <= interval[1]
    assert 0.88 <= covered / 200 <= 0.99


def test_the_bootstrap_resamples_the_same_rows_of_every_array() -> None:
    values = rng().random(30)
    interval = metrics.bootstrap_ci(lambda a, b: float(np.abs(a - b).max()), [values, values], rng(), resamples=50)
    assert interval == (0.0, 0.0)


@pytest.mark.parametrize(("undefined", "defined"), [(0, True), (4, True), (6, False)])
def test_a_statistic_that_is_often_undefined_has_no_interval(undefined: int, defined: bool) -> None:
    answers = iter([None] * undefined + [0.5] * (100 - undefined))
    interval = metrics.bootstrap_ci(lambda rows: next(answers), [np.zeros(3)], rng(), resamples=100)
    assert (interval is not None) is defined


def test_an_answer_of_weight_two_counts_for_the_error_as_two_answers_do() -> None:
    stated, good = np.array([0.2, 0.4, 0.9]), np.array([1.0, 0.0, 1.0])
    weighted = metrics.ece(stated, good, bins=1, weights=[2.0, 1.0, 1.0])
    assert weighted == pytest.approx(metrics.ece([0.2, *stated], [1.0, *good], bins=1))
    assert weighted != pytest.approx(metrics.ece(stated, good, bins=1))


def test_a_perfect_forecaster_is_forgiven_what_uneven_weights_cost() -> None:
    rng = np.random.default_rng(4)
    stated = rng.random(600)
    weights = np.where(rng.random(600) < 0.1, 20.0, 1.0)
    good = (rng.random(600) < stated).astype(float)
    floor = metrics.ece_floor(stated, rng, weights=weights)
    assert floor > 1.3 * metrics.ece_floor(stated, rng)
    assert metrics.ece(stated, good, weights=weights) < 1.5 * floor
