"""The named signals a scorer may read: one number each, from an answer's features or a second look at it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fleet.model.attempt import Features

EPSILON = 1e-6
"""Minimum distance of a probability from 0 and 1: an engine that reports exactly 0.0 is not infinitely sure."""

_HIGHEST = math.log1p(-EPSILON)
_LOWEST = math.log(EPSILON)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence for an answer, without knowing whether it is right.

    `p_true` is the probability that the model itself, or a verifier, gives to "right"; `agreement` the share of
    extra samples that say the same. None: not asked.
    """

    features: Features
    p_true: float | None = None
    agreement: float | None = None


def _number(name: str, value: float | None) -> float:
    if value is None:
        raise ValueError(f"{name}: must be known to be read as a signal")
    if not math.isfinite(value):
        raise ValueError(f"{name}: must be a finite number")
    return value


def _clipped(logprob: float) -> float:
    """Return the logarithm of p clipped to [EPSILON, 1 - EPSILON]."""
    return min(max(logprob, _LOWEST), _HIGHEST)


def _log_odds(logprob: float) -> float:
    """Return log(p / (1 - p)) of the clipped p, without loss of digits near 1."""
    clipped = _clipped(logprob)
    return clipped - math.log(-math.expm1(clipped))


def _min_logit(evidence: Evidence) -> float:
    return _log_odds(_number("min", evidence.features.min))


def _mean_logit(evidence: Evidence) -> float:
    return _log_odds(_number("mean", evidence.features.mean))


def _sequence_logit(evidence: Evidence) -> float:
    return _log_odds(_number("sum", evidence.features.sum))


def _log_count(evidence: Evidence) -> float:
    return math.log(max(_number("count", evidence.features.count), 1.0))


def _q10(evidence: Evidence) -> float:
    return _clipped(_number("q10", evidence.features.q10))


def _q25(evidence: Evidence) -> float:
    return _clipped(_number("q25", evidence.features.q25))


def _margin(evidence: Evidence) -> float:
    return _number("margin", evidence.features.margin)


def _entropy(evidence: Evidence) -> float:
    return _number("entropy", evidence.features.entropy)


def _p_true_logit(evidence: Evidence) -> float:
    p_true = _number("p_true", evidence.p_true)
    return _log_odds(math.log(p_true) if p_true > 0.0 else _LOWEST)


def _agreement(evidence: Evidence) -> float:
    return _number("agreement", evidence.agreement)


SIGNALS: Mapping[str, Callable[[Evidence], float]] = {
    "min_logit": _min_logit,
    "mean_logit": _mean_logit,
    "sequence_logit": _sequence_logit,
    "log_count": _log_count,
    "q10": _q10,
    "q25": _q25,
    "margin": _margin,
    "entropy": _entropy,
    "p_true_logit": _p_true_logit,
    "agreement": _agreement,
}
"""Every signal, by name: a finite number. Raises: ValueError, naming the field, if that is missing or not finite.

The `_logit`s are log-odds of a probability: of the least likely token, of the average one (geometric mean), of the
whole text. No single one is best: on long answers it is the text's, on short ones the least likely token's.
"""
