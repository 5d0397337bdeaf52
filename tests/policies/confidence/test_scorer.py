"""Applying scorers, and refusing those that cannot be applied."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import evidence

from fleet.model.calibration import Fit, Scorer
from fleet.model.errors import ConfigError
from policies.confidence.scorer import check, probability
from policies.confidence.signals import SIGNALS

KNOTS = ((0.2, 0.1), (0.5, 0.4), (0.8, 0.9))


def scorer(**changes: object) -> Scorer:
    plain = {"fit": Fit.PLATT, "signals": ("min_logit",), "weights": (1.0,), "intercept": 0.0}
    return Scorer(**{**plain, **changes})  # type: ignore[arg-type]


def test_the_raw_probability_comes_through_a_scorer_of_weight_one() -> None:
    assert probability(scorer(), evidence(math.log(0.7))) == pytest.approx(0.7)


def test_weights_belong_to_their_signals_in_order() -> None:
    two = scorer(signals=("margin", "entropy"), weights=(2.0, -3.0), intercept=0.5)
    log_odds = 2.0 * 1.5 - 3.0 * 0.5 + 0.5
    assert probability(two, evidence(-1.0, margin=1.5, entropy=0.5)) == pytest.approx(1 / (1 + math.exp(-log_odds)))


@pytest.mark.parametrize(
    ("stated", "expected"), [(0.1, 0.1), (0.2, 0.1), (0.35, 0.25), (0.5, 0.4), (0.65, 0.65), (0.8, 0.9), (0.95, 0.9)]
)
def test_knots_are_joined_by_straight_lines_and_level_outside(stated: float, expected: float) -> None:
    assert probability(scorer(knots=KNOTS), evidence(math.log(stated))) == pytest.approx(expected)


@pytest.mark.parametrize(("intercept", "expected"), [(1e6, 1.0), (-1e6, 0.0)])
def test_extreme_log_odds_neither_overflow_nor_leave_the_unit_interval(intercept: float, expected: float) -> None:
    assert probability(scorer(intercept=intercept), evidence(-0.1)) == expected


def test_a_missing_signal_is_named() -> None:
    with pytest.raises(ValueError, match="p_true"):
        probability(scorer(signals=("p_true_logit",)), evidence(-0.1))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"signals": (), "weights": ()}, "scorer.signals"),
        ({"signals": ("min_logit", "min_logit"), "weights": (1.0, 1.0)}, "scorer.signals"),
        ({"signals": ("mood",)}, "scorer.signals"),
        ({"weights": (1.0, 2.0)}, "scorer.weights"),
        ({"weights": (math.nan,)}, "scorer.weights"),
        ({"weights": (-1e7,)}, "scorer.weights"),
        ({"intercept": math.inf}, "scorer.intercept"),
        ({"knots": ((0.5, 0.5),)}, "scorer.knots"),
        ({"knots": ((0.1, 0.2), (0.1, 0.3))}, "scorer.knots"),
        ({"knots": ((0.1, 0.2), (0.2, 0.2))}, "scorer.knots"),
        ({"knots": ((0.1, 0.2), (0.2, 1.2))}, "scorer.knots"),
        ({"knots": ((0.1, 0.2), (math.nan, 0.3))}, "scorer.knots"),
    ],
)
def test_a_scorer_that_could_not_be_applied_is_refused_by_field(changes: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check(scorer(**changes))
    assert refused.value.field == field


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=8),
    st.floats(-1e6, 1e6),
    st.booleans(),
    st.floats(-50.0, 0.0),
)
def test_whatever_passes_the_check_gives_a_probability(
    weights: list[float], intercept: float, bent: bool, logprob: float
) -> None:
    names = tuple(SIGNALS)[:8]
    given_scorer = scorer(signals=names, weights=tuple(weights), intercept=intercept, knots=KNOTS if bent else ())
    check(given_scorer)
    assert 0.0 <= probability(given_scorer, evidence(logprob)) <= 1.0


@given(st.floats(-20.0, 0.0), st.floats(-20.0, 0.0), st.floats(0.01, 5.0), st.booleans())
def test_a_rising_scorer_of_one_signal_keeps_the_order(one: float, other: float, weight: float, bent: bool) -> None:
    low, high = sorted((one, other))
    rising = scorer(weights=(weight,), knots=KNOTS if bent else ())
    assert probability(rising, evidence(low)) <= probability(rising, evidence(high))
