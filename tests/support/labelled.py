"""Synthetic answers whose probability of being good is known."""

from __future__ import annotations

import numpy as np

from fleet.lab.learning.labels import Label
from fleet.model.attempt import Features
from policies.confidence.signals import Evidence


def evidence(logprob: float, **changes: float) -> Evidence:
    """Return an answer of one token with this log-probability; `changes` replace single features."""
    plain: dict[str, float] = dict.fromkeys(("sum", "mean", "min", "q10", "q25"), logprob)
    values = {**plain, "count": 1, "margin": 0.0, "entropy": 0.0, **changes}
    return Evidence(Features(**values))  # type: ignore[arg-type]


def overconfident(n: int, rng: np.random.Generator, slope: float = 0.5, shift: float = -0.5) -> list[Label]:
    """Return labels of one-token answers: the log-odds of being good are slope x log-odds stated + shift.

    The strong answer is right nine times of ten, whatever the weak one is.
    """
    stated = rng.normal(1.5, 2.0, n)
    good = rng.random(n) < 1.0 / (1.0 + np.exp(-(slope * stated + shift)))
    strong = rng.random(n) < 0.9
    logprobs = -np.log1p(np.exp(-stated))
    return [Label(evidence(float(lp)), bool(g), bool(s)) for lp, g, s in zip(logprobs, good, strong, strict=True)]


def of_two_signals(n: int, rng: np.random.Generator) -> list[Label]:
    """Return labels of long answers: the least likely token tells half, the mean gap of the two likeliest the rest."""
    token, margin = rng.normal(0.0, 1.5, n), rng.normal(0.0, 1.0, n)
    good = rng.random(n) < 1.0 / (1.0 + np.exp(-(token + 1.5 * margin)))
    strong = rng.random(n) < 0.9
    logprobs = -np.log1p(np.exp(-token))
    return [
        Label(evidence(float(lp), margin=float(m), count=20), bool(g), bool(s))
        for lp, m, g, s in zip(logprobs, margin, good, strong, strict=True)
    ]


def often_hopeless(n: int, rng: np.random.Generator) -> list[Label]:
    """Return labels of long answers: where the margin is small a wrong one is mostly wrong of the strong target too."""
    token, margin = rng.normal(0.5, 1.5, n), rng.normal(0.0, 1.5, n)
    good = rng.random(n) < 1.0 / (1.0 + np.exp(-(token + 0.8 * margin)))
    strong = rng.random(n) < np.where(good, 0.97, 1.0 / (1.0 + np.exp(-(2.5 * margin + 0.5))))
    logprobs = -np.log1p(np.exp(-token))
    return [
        Label(evidence(float(lp), margin=float(m), count=20), bool(g), bool(s))
        for lp, m, g, s in zip(logprobs, margin, good, strong, strict=True)
    ]
