"""The eight numbers that stand for an answer's log-probabilities."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.features.logprobs import FLOOR, NO_TOKENS, aggregate

logprob = st.floats(-50.0, 0.0)
tokens = st.lists(logprob, min_size=1, max_size=40)
candidates = st.lists(st.lists(logprob, min_size=2, max_size=8), min_size=1, max_size=20)


def test_no_tokens_say_nothing():
    assert aggregate([], []) == NO_TOKENS


def test_a_worked_example():
    features = aggregate([-0.5, -1.5], [[math.log(0.5), math.log(0.5)], [math.log(0.2), math.log(0.8)]])
    assert features.sum == -2.0
    assert features.mean == -1.0
    assert features.min == -1.5
    assert features.q10 == pytest.approx(-1.4)
    assert features.q25 == pytest.approx(-1.25)
    assert features.count == 2
    assert features.margin == pytest.approx(math.log(4) / 2)
    assert features.entropy == pytest.approx((math.log(2) - 0.8 * math.log(0.8) - 0.2 * math.log(0.2)) / 2)


@given(tokens)
def test_the_quantiles_are_numpys(values):
    features = aggregate(values, [])
    assert features.q10 == pytest.approx(float(np.quantile(values, 0.10)), abs=1e-9)
    assert features.q25 == pytest.approx(float(np.quantile(values, 0.25)), abs=1e-9)


@given(candidates)
def test_margin_and_entropy_are_the_textbooks(top):
    features = aggregate([0.0] * len(top), top)
    best_two = [sorted(few)[-2:] for few in top]
    assert features.margin == pytest.approx(float(np.mean([high - low for low, high in best_two])), abs=1e-9)
    weights = [np.exp(np.array(few) - max(few)) for few in top]
    shares = [weight / weight.sum() for weight in weights]
    entropy = np.mean([-sum(p * math.log(p) for p in share if p > 0) for share in shares])
    assert features.entropy == pytest.approx(float(entropy), abs=1e-9)


@given(candidates, st.randoms())
def test_the_order_of_candidates_does_not_matter(top, random):
    shuffled = [random.sample(few, len(few)) for few in top]
    assert aggregate([-1.0], top) == aggregate([-1.0], shuffled)


@given(candidates)
def test_entropy_lies_between_certainty_and_a_fair_choice(top):
    assert 0.0 <= aggregate([-1.0], top).entropy <= math.log(max(map(len, top))) + 1e-9


@pytest.mark.parametrize("impossible", [-math.inf, -9999.0, math.nan])
def test_an_impossible_token_counts_as_the_floor_and_spoils_nothing(impossible):
    features = aggregate([-1.0, impossible], [[0.0, impossible], [impossible, impossible], []])
    assert features.sum == FLOOR - 1.0
    assert features.min == FLOOR
    assert features.margin == -FLOOR / 2
    assert features.entropy == pytest.approx(math.log(2) / 2)
    assert all(math.isfinite(value) for value in astuple(features))


def test_tokens_without_candidates_have_neither_margin_nor_entropy():
    features = aggregate([-1.0, -2.0], [[], [-2.0]])
    assert (features.margin, features.entropy) == (0.0, 0.0)
