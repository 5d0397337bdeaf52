"""Application of a fitted scorer: from evidence to the probability that an answer is good."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from fleet.model.calibration import Scorer
from fleet.model.errors import ConfigError
from policies.confidence.signals import SIGNALS, Evidence

LARGEST = 1e6
"""The largest weight or intercept that is accepted; with signals in the tens, no sum of them overflows."""


def probability(scorer: Scorer, evidence: Evidence) -> float:
    """Return P(good) in [0, 1] by a scorer that `check` has passed.

    Raises: ValueError naming the field of the evidence that the scorer needs and that is missing or not finite.
    """
    total = scorer.intercept
    for name, weight in zip(scorer.signals, scorer.weights, strict=True):
        total += weight * SIGNALS[name](evidence)
    p = sigmoid(total)
    return _through(scorer.knots, p) if scorer.knots else p


def sigmoid(log_odds: float) -> float:
    """Return 1 / (1 + exp(-log_odds)), in the form whose exponential cannot overflow."""
    if log_odds >= 0.0:
        return 1.0 / (1.0 + math.exp(-log_odds))
    raised = math.exp(log_odds)
    return raised / (1.0 + raised)


def _through(knots: Sequence[tuple[float, float]], p: float) -> float:
    """Return the height at `p` of the straight lines between the knots; level before the first and after the last."""
    after = bisect_right(knots, (p, math.inf))
    if after == 0:
        return knots[0][1]
    if after == len(knots):
        return knots[-1][1]
    (left, low), (right, high) = knots[after - 1], knots[after]
    return low + (high - low) * (p - left) / (right - left)


def check(scorer: Scorer) -> None:
    """Refuse a scorer from outside that `probability` could not apply.

    Raises: ConfigError naming the field and the rule.
    """
    if not scorer.signals or len(set(scorer.signals)) != len(scorer.signals):
        raise ConfigError("scorer.signals", "must name at least one signal, each once")
    for name in scorer.signals:
        if name not in SIGNALS:
            raise ConfigError("scorer.signals", f"must be among {', '.join(SIGNALS)}; got {name!r}")
    if len(scorer.weights) != len(scorer.signals):
        raise ConfigError("scorer.weights", "must be as many as signals")
    if not all(_is_believed(weight) for weight in scorer.weights):
        raise ConfigError("scorer.weights", f"must be finite and at most {LARGEST:g} in size")
    if not _is_believed(scorer.intercept):
        raise ConfigError("scorer.intercept", f"must be finite and at most {LARGEST:g} in size")
    _check_knots(scorer.knots)


def _is_believed(value: float) -> bool:
    return math.isfinite(value) and abs(value) <= LARGEST


def _check_knots(knots: Sequence[tuple[float, float]]) -> None:
    if len(knots) == 1:
        raise ConfigError("scorer.knots", "must be two or more, or none")
    if not all(0.0 <= value <= 1.0 for knot in knots for value in knot):
        raise ConfigError("scorer.knots", "must be pairs of probabilities")
    for (left, low), (right, high) in pairwise(knots):
        if left >= right or low >= high:
            raise ConfigError("scorer.knots", "must rise in both, from each to the next")
