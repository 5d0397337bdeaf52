"""vCache's rule, to compare with: a threshold of its own for each cached question, learned as requests come.

Written from the formulas of Schroeder et al. 2025 (arXiv 2502.03771), not from their code. The chance that the nearest
question's answer is right is modelled as sigmoid(gamma (s - t)) of its similarity s, fitted to that question's own
comparisons so far. To keep the share of errors among all requests at `delta`, a model must be asked with a probability
of at least

    tau = min over e in (0, 1) of 1 - delta / (1 - (1 - e) sigmoid(gamma (s - t_e)))

where t_e is the upper end of a confidence interval for t at level 1 - e. Whenever a model is asked, its answer is a new
comparison; if it differs, it becomes an entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from fleet.embedding.encoder import Vectors
from fleet.lab.learning.sample import Array, sigmoid
from fleet.lab.metrics.logistic import ridge_logistic

_PSEUDO = ((0.0, 0.0), (1.0, 1.0))
"""What every entry is taken to have seen: nothing alike was wrong, its like was right."""
_FEWEST = 6
"""Comparisons, the two above among them, before an entry may answer."""
_LEVELS = np.linspace(0.01, 0.99, 50)
_QUANTILES = np.array([NormalDist().inv_cdf(1.0 - level) for level in _LEVELS.tolist()])
_RIDGE = 1e-3
_BLOCK = 256
_NOWHERE = -2.0


@dataclass(frozen=True, slots=True)
class Streamed:
    """Shares of all requests: served from the cache, served wrongly, and compared with a model's answer."""

    hits: float
    wrong: float
    compared: float


def stream(
    vectors: Vectors, answers: Sequence[str | None], asked: Sequence[int], delta: float, draws: Array
) -> Streamed:
    """Ask the rows one after the other of a cache that starts empty; `draws` has a number in [0, 1) for each."""
    present = np.zeros(len(vectors), dtype=np.bool_)
    seen: dict[int, list[tuple[float, float]]] = {}
    fits: dict[int, tuple[float, float, float]] = {}
    hits = wrong = 0
    for place, (row, draw) in enumerate(zip(asked, draws.tolist(), strict=True)):
        if place % _BLOCK == 0:
            block = vectors[list(asked[place : place + _BLOCK])] @ vectors.T
        similarities = np.where(present, block[place % _BLOCK], _NOWHERE)
        nearest = int(similarities.argmax())
        similarity, right = float(similarities[nearest]), answers[row] is not None and answers[nearest] == answers[row]
        if similarity == _NOWHERE:
            present[row] = True
            continue
        if nearest in fits and draw > explore_probability(similarity, fits[nearest], delta):
            hits, wrong = hits + 1, wrong + (not right)
            continue
        comparisons = seen.setdefault(nearest, list(_PSEUDO))
        comparisons.append((similarity, float(right)))
        if len(comparisons) >= _FEWEST:
            fits[nearest] = _fitted(comparisons)
        if not right and answers[row] is not None:
            present[row] = True
    n = len(asked)
    return Streamed(hits / n, wrong / n, (n - hits) / n)


def explore_probability(similarity: float, fit: tuple[float, float, float], delta: float) -> float:
    """Return tau: the probability with which a model must be asked, given (t, gamma, standard error of t)."""
    threshold, steepness, error = fit
    surely = (1.0 - _LEVELS) * sigmoid(steepness * (similarity - (threshold + _QUANTILES * error)))
    return max(0.0, float(np.min(1.0 - delta / np.maximum(1.0 - surely, 1e-12))))


def _fitted(comparisons: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Return t, gamma and the standard error of t (delta method) by maximum likelihood, with a slight ridge."""
    s, c = np.array(comparisons).T
    x = np.stack([np.ones(len(s)), s], axis=1)
    b = ridge_logistic(x, c, np.ones(len(s)), np.zeros(2), np.full(2, _RIDGE), np.zeros(len(s)))
    if b[1] <= 0.0:
        return np.inf, 1.0, 0.0
    p = sigmoid(x @ b)
    covariance = np.linalg.inv((x.T * (p * (1.0 - p))) @ x + np.diag(np.full(2, _RIDGE)))
    slope = np.array([-1.0 / b[1], b[0] / b[1] ** 2])
    return float(-b[0] / b[1]), float(b[1]), float(np.sqrt(slope @ covariance @ slope))
