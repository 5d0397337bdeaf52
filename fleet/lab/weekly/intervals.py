"""Intervals and bounds that hold for any distribution and any number of values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fleet.lab.metrics.bounds import binomial, hoeffding_bentkus
from fleet.lab.metrics.curve import Array

FEWEST = 100.0
"""Minimum effective number of judged answers; with fewer nothing is said of their goodness."""

_STEPS = 40


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate between its bounds."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Interval:
        return Interval(self.value * factor, self.low * factor, self.high * factor)


def mean_interval(values: Array, lowest: float, highest: float, alpha: float) -> Interval:
    """Return the mean of independent values in [lowest, highest] with an interval that misses it in at most `alpha`.

    It is narrow where the values vary little, as costs do of which most are zero.
    Source: Maurer & Pontil 2009, Empirical Bernstein bounds, theorem 4, once for each side.
    Raises: ValueError for fewer than two values.
    """
    n = len(values)
    if n < 2:
        raise ValueError("values: must be at least two")
    mean, variance = float(np.mean(values)), float(np.var(values, ddof=1))
    log = math.log(4.0 / alpha)
    width = math.sqrt(2.0 * variance * log / n) + 7.0 * (highest - lowest) * log / (3.0 * (n - 1))
    return Interval(mean, max(lowest, mean - width), min(highest, mean + width))


def share_interval(hits: Array, weights: Array, alpha: float) -> Interval:
    """Return the share of hits among weighted rows with an interval that misses it in at most `alpha`."""
    value = float(np.average(hits, weights=weights))
    return Interval(value, 1.0 - upper_share(1.0 - hits, weights, alpha / 2), upper_share(hits, weights, alpha / 2))


def upper_share(hits: Array, weights: Array, alpha: float) -> float:
    """Return a bound that the share of hits exceeds in at most `alpha` of such samples; hits are 0 or 1.

    It is the largest share that a test at this level does not rule out: Clopper and Pearson's for rows of one weight.
    Where weights differ, each hit is moved towards the share by as much as its weight is below the largest, which
    leaves the hypothesis as it is (see `fleet.lab.learning.thresholds.learn_then_test`), and Hoeffding and Bentkus
    bound the tail.
    """
    if not len(hits):
        return 1.0
    scale = weights / weights.max()
    p_value = binomial if scale.min() == scale.max() else hoeffding_bentkus
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        share = (low + high) / 2
        tested = float(np.mean(share + scale * (hits - share)))
        if 0.0 < share < 1.0 and p_value(tested, len(hits), share) <= alpha:
            high = share
        else:
            low = share
    return high
