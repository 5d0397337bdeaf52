"""What an answer's features say, one signal at a time."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import evidence

from policies.confidence.signals import EPSILON, SIGNALS, Evidence

FIELD = {
    "min_logit": "min",
    "mean_logit": "mean",
    "sequence_logit": "sum",
    "q10": "q10",
    "q25": "q25",
    "margin": "margin",
    "entropy": "entropy",
}


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("min_logit", {"min": math.log(0.5)}, 0.0),
        ("min_logit", {"min": math.log(0.9)}, math.log(9.0)),
        ("mean_logit", {"mean": math.log(0.25)}, math.log(1 / 3)),
        ("sequence_logit", {"sum": math.log(0.2)}, math.log(0.25)),
        ("log_count", {"count": 8}, math.log(8)),
        ("log_count", {"count": 0}, 0.0),
        ("q10", {"q10": -2.5}, -2.5),
        ("q25", {"q25": -1.5}, -1.5),
        ("margin", {"margin": 3.25}, 3.25),
        ("entropy", {"entropy": 0.75}, 0.75),
    ],
)
def test_every_signal_reads_its_own_feature(name: str, changes: dict[str, float], expected: float) -> None:
    assert SIGNALS[name](evidence(-0.7, **changes)) == pytest.approx(expected)


def test_the_second_look_is_read_as_log_odds_and_as_a_share() -> None:
    asked = replace(evidence(-0.7), p_true=0.8, agreement=0.5)
    assert SIGNALS["p_true_logit"](asked) == pytest.approx(math.log(4.0))
    assert SIGNALS["agreement"](asked) == 0.5


@pytest.mark.parametrize(("name", "field"), [("p_true_logit", "p_true"), ("agreement", "agreement")])
def test_a_second_look_that_nobody_took_is_named(name: str, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: must be known"):
        SIGNALS[name](evidence(-0.7))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", FIELD)
def test_a_feature_that_is_not_finite_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{FIELD[name]}: must be a finite number"):
        SIGNALS[name](evidence(-0.7, **{FIELD[name]: value}))


@pytest.mark.parametrize("logprob", [0.0, 0.001, -1e-12])
def test_nobody_is_infinitely_sure(logprob: float) -> None:
    assert SIGNALS["min_logit"](evidence(logprob)) == pytest.approx(math.log((1 - EPSILON) / EPSILON))


@pytest.mark.parametrize("p_true", [0.0, 1.0])
def test_a_certain_second_look_is_clipped(p_true: float) -> None:
    found = SIGNALS["p_true_logit"](Evidence(evidence(-0.7).features, p_true))
    assert abs(found) == pytest.approx(math.log((1 - EPSILON) / EPSILON))


@given(st.floats(-1e6, 1.0), st.floats(-1e6, 1.0))
def test_more_probable_never_means_a_lower_logit(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert SIGNALS["min_logit"](evidence(low)) <= SIGNALS["min_logit"](evidence(high))
