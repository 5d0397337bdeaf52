"""The fit of a cache's score, its metric and its threshold.

The score is fitted on the cached questions alone, each asked as if it were not in the cache: their answers are known,
so that costs no label. Every label is then left for the test of the threshold, and none of them has shaped the score;
that the two never share a label is what keeps the promise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fleet.embedding.encoder import Vectors
from fleet.lab.caching.entries import Entries, ask
from fleet.lab.learning.sample import Array
from fleet.lab.learning.thresholds import learn_then_test
from fleet.lab.metrics.bounds import binomial
from fleet.lab.metrics.logistic import ridge_logistic
from fleet.model.caching import AnswerScore
from fleet.model.calibration import Threshold
from fleet.model.errors import ConfigError
from policies.caching.signals import SIGNALS

STREAM_SIGNALS = ("cosine", "margin", "vote", "words", "guard")
"""What a score is made of where answers have several questions each."""
PAIR_SIGNALS = ("cosine", "content")
"""What is left to tell two questions apart where there is nothing but the two."""
PAIR_VETOES = ("guard", "exchange")
"""What nothing outweighs there."""
FEWEST_TWINS = 50
"""Cached questions that share their answer with another one, below which nothing is fitted on them."""
UNKNOWN_SHARE = 0.1
"""The weight of a cached question asked as if no entry had its answer, beside the same one asked with the others."""
SHRINKAGE = 0.8
"""How far the spread of equal answers is moved towards "the same in all directions" (Ledoit & Wolf 2004)."""
STEPS = 1001
_RIDGE = 1e-2


def fit_score(entries: Entries) -> AnswerScore:
    """Return a score that tells right answers from wrong ones among these entries.

    Raises: ConfigError if too few of them share their answer with another one, or all do.
    """
    same = entries.same_answer()
    twins = int((same.sum(axis=1) > 1).sum())
    if same.all():
        raise ConfigError("entries", "must hold two different answers or more")
    if twins < FEWEST_TWINS:
        raise ConfigError("entries", f"must hold {FEWEST_TWINS} that share their answer with another; {twins} do")
    known = ask(entries, entries.texts, entries.vectors, np.eye(len(entries), dtype=np.bool_))
    right = np.array(
        [one == other for one, other in zip(known.answers, entries.answers, strict=True)], dtype=np.float64
    )
    # The same questions once more as if nothing in the cache had their answer: what a new question looks like.
    unknown = ask(entries, entries.texts, entries.vectors, same)
    signals = np.concatenate([known.signals, unknown.signals])
    good = np.concatenate([right, np.zeros(len(entries))])
    weights = np.concatenate([np.ones(len(entries)), np.full(len(entries), UNKNOWN_SHARE)])
    intercept, by_name = fit_weights(signals, good, weights, STREAM_SIGNALS)
    return AnswerScore(intercept, by_name, vetoes=())


def fit_weights(signals: Array, good: Array, weights: Array, names: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Return the intercept and the weights, by name, of a logistic regression on some of the signals."""
    columns = [np.ones(len(signals)), *(signals[:, SIGNALS.index(name)] for name in names)]
    zero = np.zeros(len(columns))
    found = ridge_logistic(
        np.stack(columns, 1), good, weights, zero, np.full(len(columns), _RIDGE), np.zeros(len(good))
    )
    intercept, *rest = found.tolist()
    return intercept, dict(zip(names, rest, strict=True))


def fit_metric(vectors: Vectors, answers: Sequence[str]) -> Vectors:
    """Return a map of vectors after which those of equal answers lie close: the inverse root of their spread.

    With one question per answer there is no spread, and the map changes no direction.
    Source: linear discriminant analysis (Fisher 1936), the covariance within classes shrunk by SHRINKAGE.
    """
    _, codes = np.unique(np.array(answers), return_inverse=True)
    counts = np.bincount(codes)
    means = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(means, codes, vectors)
    off = vectors - (means / counts[:, None])[codes]
    within = off.T @ off / max(1, len(vectors) - len(counts))
    level = float(np.trace(within)) / len(within)
    if level <= 0.0:
        return np.eye(len(within), dtype=np.float32)
    shrunk = (1.0 - SHRINKAGE) * within + SHRINKAGE * level * np.eye(len(within))
    found: Vectors = np.linalg.cholesky(np.linalg.inv(shrunk)).astype(np.float32)
    return found


def scores(signals: Array, by: AnswerScore) -> Array:
    """Return `policies.caching.signals.score` of every row."""
    weights = np.array([by.weights.get(name, 0.0) for name in SIGNALS])
    total: Array = signals @ weights + by.intercept
    vetoed = signals[:, [SIGNALS.index(name) for name in by.vetoes]].any(axis=1)
    return np.where(vetoed, -np.inf, total)


def fit_threshold(
    found: npt.ArrayLike, wrong: npt.ArrayLike, risk: float, delta: float, tenants_and_tasks: int, weights: Array | None
) -> Threshold:
    """Return the lowest log-odds from which on answers may be served.

    `found` are the scores of labelled requests, `wrong` is 1.0 where serving the nearest answer would not have been the
    same as the right one, `weights` are one over the propensities of labels that were not drawn evenly. `delta` is
    split over all tenants and tasks, so that the promise holds for all of them together.
    """
    values = np.asarray(found, dtype=np.float64)
    return learn_then_test(values, wrong, steps_of(values), risk, delta / tenants_and_tasks, binomial, weights)


def steps_of(values: Array) -> Array:
    """Return the thresholds to try: quantiles of the scores."""
    return np.unique(np.quantile(values, np.linspace(0.0, 1.0, STEPS), method="inverted_cdf"))
