"""Measures of a confidence: how well it ranks answers and how true its numbers are, beside those of chance alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleet.lab.metrics.curve import Array

BINS = 15
"""Bins of the expected calibration error, as in Guo et al. 2017, but of equal mass."""
_UNDEFINED_RESAMPLES = 0.05


@dataclass(frozen=True, slots=True)
class Bin:
    """A bin of a reliability plot: the number of answers, their mean confidence, and the share that were good."""

    count: int
    confidence: float
    good: float


def auroc(score: npt.ArrayLike, good: npt.ArrayLike) -> float | None:
    """Return the chance that a good answer outscores a bad one; a tie counts half. None if all are of one class.

    An answer with graded goodness counts as good from 0.5 on.
    """
    scores, right = _array(score), _array(good) >= 0.5
    positives, negatives = int(right.sum()), int((~right).sum())
    if not positives or not negatives:
        return None
    wins = _mid_ranks(scores)[right].sum() - positives * positives / 2
    return float(wins) / (positives * negatives)


def auprc(score: npt.ArrayLike, good: npt.ArrayLike) -> float | None:
    """Return the average precision of finding good answers from the highest score down, a block of ties at once.

    None where no answer is good. An uninformative score gives the share of good answers.
    """
    scores, right = _array(score), _array(good) >= 0.5
    if not right.any():
        return None
    _, block, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    found = np.bincount(block, weights=right)
    precision = np.cumsum(found) / np.cumsum(sizes)
    return float((precision * found).sum() / right.sum())


def brier(probability: npt.ArrayLike, good: npt.ArrayLike) -> float:
    """Return the mean squared distance between the stated probability and the truth; 0 is perfect."""
    return float(np.mean((_array(probability) - _array(good)) ** 2))


def brier_constant(good: npt.ArrayLike) -> float:
    """Return the Brier score of always stating the share of good answers: a useful confidence must beat it."""
    return brier(np.mean(_array(good)), good)


def reliability(probability: npt.ArrayLike, good: npt.ArrayLike, bins: int = BINS) -> tuple[Bin, ...]:
    """Return at most `bins` bins of equal mass, in rising confidence. Equal probabilities always share one bin."""
    stated, true = _array(probability), _array(good)
    member = _bin_of(stated, bins)
    return tuple(
        Bin(int(inside.sum()), float(stated[inside].mean()), float(true[inside].mean()))
        for inside in (member == number for number in np.unique(member))
    )


def ece(
    probability: npt.ArrayLike, good: npt.ArrayLike, bins: int = BINS, weights: npt.ArrayLike | None = None
) -> float:
    """Return the expected calibration error: the mean distance between stated and true over bins of equal mass.

    It is never zero on a finite sample; compare it with `ece_floor`. `weights` say how much of the traffic an answer
    stands for; bins hold equal numbers of answers all the same.
    """
    stated, weight = _array(probability), _weights(probability, weights)
    surplus = np.bincount(_bin_of(stated, bins), weights=weight * (stated - _array(good)))
    return float(np.abs(surplus).sum() / weight.sum())


def ece_floor(
    probability: npt.ArrayLike,
    rng: np.random.Generator,
    bins: int = BINS,
    draws: int = 200,
    weights: npt.ArrayLike | None = None,
) -> float:
    """Return the mean ECE of a perfect forecaster with these probabilities, weights and this many answers."""
    order = np.argsort(_array(probability), kind="stable")
    stated, weight = _array(probability)[order], _weights(probability, weights)[order]
    _, starts = np.unique(_bin_of(stated, bins), return_index=True)
    drawn = rng.random((draws, len(stated))) < stated
    surplus = np.add.reduceat(weight * (stated - drawn), starts, axis=1)
    return float(np.abs(surplus).sum(axis=1).mean() / weight.sum())


def kept_wrong(kept: npt.ArrayLike, weak_good: npt.ArrayLike) -> float | None:
    """Return the share of kept answers that are wrong; None where none is kept."""
    inside = np.asarray(kept, dtype=np.bool_)
    return float(1 - _array(weak_good)[inside].mean()) if inside.any() else None


def bootstrap_ci(
    statistic: Callable[..., float | None],
    arrays: Sequence[npt.NDArray[np.generic]],
    rng: np.random.Generator,
    resamples: int = 1000,
) -> tuple[float, float] | None:
    """Return the percentile interval (95 %) of `statistic(*arrays)` over resampled rows, the same of every array.

    Resamples where the statistic is None are left out; None where they are more than one in twenty.
    """
    n = len(arrays[0])
    drawn = (rng.integers(n, size=n) for _ in range(resamples))
    values = [value for rows in drawn if (value := statistic(*(array[rows] for array in arrays))) is not None]
    if len(values) < (1 - _UNDEFINED_RESAMPLES) * resamples:
        return None
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def _bin_of(stated: Array, bins: int) -> npt.NDArray[np.int64]:
    """Return the bin of each value by its mean rank, which equal values share."""
    return (_mid_ranks(stated) * bins / len(stated)).astype(np.int64)


def _weights(values: npt.ArrayLike, weights: npt.ArrayLike | None) -> Array:
    return np.ones(len(_array(values))) if weights is None else _array(weights)


def _mid_ranks(values: Array) -> Array:
    """Return ranks in (0, n): half of a value's equals, itself included, plus all smaller values."""
    _, block, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(sizes) - sizes / 2)[block]
    return ranks


def _array(values: npt.ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)
