"""The cost-quality curve: known shapes by hand, laws by Hypothesis."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.lab.metrics import curve as curves
from fleet.lab.metrics.curve import Curve

Rows = list[tuple[int, int, int]]

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40)
"""Score (with many ties), weak good, strong good."""


def of(rows: Rows) -> Curve:
    score, weak, strong = zip(*rows, strict=True)
    return curves.cascade(score, weak, strong)


def test_the_lowest_score_is_escalated_first() -> None:
    curve = curves.cascade(score=[0.9, 0.1, 0.5], weak_good=[1, 0, 0], strong_good=[1, 1, 0])
    assert curve.quality == pytest.approx([1 / 3, 2 / 3, 2 / 3, 2 / 3])
    assert (curve.n, curve.weak, curve.strong) == (3, pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert curve.shares == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_a_block_of_ties_is_the_mean_over_every_order() -> None:
    gains = [1, 0, 0, -1, 1]
    scores = [0.2, 0.5, 0.5, 0.5, 0.9]
    weak = [0, 1, 0, 1, 0]
    strong = [w + g for w, g in zip(weak, gains, strict=True)]
    orders = [(0, *middle, 4) for middle in itertools.permutations((1, 2, 3))]
    exact = np.mean([[sum(gains[i] for i in order[:k]) for k in range(6)] for order in orders], axis=0) / 5
    curve = curves.cascade(scores, weak, strong)
    assert curve.quality - curve.weak == pytest.approx(exact)


def test_quality_may_be_graded() -> None:
    assert curves.cascade([1, 0], [0.5, 0.25], [1.0, 0.75]).quality == pytest.approx([0.375, 0.625, 0.875])


@given(ROWS)
def test_no_order_beats_the_oracle_and_all_start_weak_and_end_strong(rows: Rows) -> None:
    _, weak, strong = zip(*rows, strict=True)
    curve, oracle = of(rows), curves.cascade(curves.oracle_score(weak, strong), weak, strong)
    assert np.all(curve.quality <= oracle.quality + 1e-9)
    assert (curve.weak, curve.strong) == (pytest.approx(np.mean(weak)), pytest.approx(np.mean(strong)))
    assert max(oracle.quality) == pytest.approx(np.mean(np.maximum(weak, strong)))


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(rows: Rows, shuffler: object) -> None:
    shuffled = list(rows)
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined]
    assert of(shuffled).quality == pytest.approx(of(rows).quality)


@given(ROWS)
def test_the_reverse_order_recovers_what_is_left_of_one(rows: Rows) -> None:
    forward = curves.apgr(of(rows))
    backward = curves.apgr(of([(-score, weak, strong) for score, weak, strong in rows]))
    assert (forward is None) == (backward is None)
    if forward is not None and backward is not None:
        assert forward + backward == pytest.approx(1)


def test_random_order_recovers_half() -> None:
    curve = curves.cascade(curves.random_score(10), [0] * 5 + [1] * 5, [1] * 9 + [0])
    assert curves.apgr(curve) == pytest.approx(0.5)
    assert curves.cpt(curve, 0.5) == pytest.approx(0.5)


def test_long_prompts_are_escalated_first() -> None:
    curve = curves.cascade(curves.length_score([10, 500]), [1, 0], [1, 1])
    assert curve.quality == pytest.approx([0.5, 1, 1])


def test_apgr_by_hand() -> None:
    # recovered: 0, 1/2, 1, 1, 1 -> trapezoid (0.25 + 0.75 + 1 + 1) / 4
    curve = curves.cascade([1, 2, 3, 4], [0, 0, 1, 1], [1, 1, 1, 1])
    assert curves.apgr(curve) == pytest.approx(0.75)
    assert [curves.cpt(curve, share) for share in (0.4, 0.5, 0.8, 1.0)] == [0.25, 0.25, 0.5, 0.5]


def test_a_mix_can_beat_the_strong_target() -> None:
    curve = curves.cascade([1, 2, 3], [0, 0, 1], [1, 1, 0])
    assert curves.apgr(curve) == pytest.approx((0.5 + 1.5 + 1.5) / 3)
    assert curves.cpt(curve, 1.5) == pytest.approx(2 / 3)
    assert curves.cpt(curve, 2.5) is None


@pytest.mark.parametrize("strong_right", [50, 51, 40])
def test_without_a_gap_of_two_points_nothing_is_said_of_it(strong_right: int) -> None:
    right = np.arange(100)
    curve = curves.cascade(right, right < 50, right < strong_right, [0.1] * 100, [1.0] * 100)
    assert curves.apgr(curve) is None
    assert curves.cpt(curve, 0.5) is None
    assert curves.usd_area(curve) is None
    assert curves.cost_at(curve, 0.5) is None


def test_a_cascade_pays_the_weak_target_every_time_and_a_router_only_where_it_stays() -> None:
    prices = {"weak_usd": [1, 2], "strong_usd": [10, 20]}
    cascade = curves.cascade([0, 1], [0, 0], [1, 1], **prices)
    router = curves.router([0, 1], [0, 0], [1, 1], **prices)
    assert cascade.usd == pytest.approx([1.5, 6.5, 16.5])
    assert router.usd == pytest.approx([1.5, 6.0, 15.0])
    assert cascade.usd_marginal == pytest.approx([0, 5, 15])
    assert (cascade.always_weak_usd, cascade.always_strong_usd) == (1.5, 15)


def test_the_area_on_dollars_by_hand() -> None:
    # dollars 1, 3, 5 with always-strong at 4, so the last step is cut in half; recovered 0, 1, 1
    curve = curves.cascade([0, 1], [0, 1], [1, 1], [1, 1], [4, 4])
    assert curve.usd == pytest.approx([1, 3, 5])
    assert curves.usd_area(curve) == pytest.approx((0.5 * 2 + 1 * 1) / 3)
    assert curves.usd_area_marginal(curve) == pytest.approx((0.5 * 2 + 1 * 2) / 4)
    assert curves.cost_at(curve, 1.0) == pytest.approx(3 / 4)


def test_a_random_router_covers_half_of_the_area_on_dollars_and_a_random_cascade_less() -> None:
    weak, strong = [0] * 4, [1] * 4
    score, prices = curves.random_score(4), ([1.0] * 4, [4.0] * 4)
    assert curves.usd_area(curves.router(score, weak, strong, *prices)) == pytest.approx(0.5)
    area = curves.usd_area(curves.cascade(score, weak, strong, *prices))
    assert area is not None
    assert area < 0.5


def test_without_prices_or_with_a_strong_target_that_is_not_dearer_there_is_no_area() -> None:
    assert curves.usd_area(curves.cascade([0, 1], [0, 0], [1, 1])) is None
    assert curves.usd_area(curves.cascade([0, 1], [0, 0], [1, 1], [1, 1], [1, 1])) is None
    assert curves.cost_at(curves.cascade([0, 1], [0, 0], [1, 1]), 0.5) is None
