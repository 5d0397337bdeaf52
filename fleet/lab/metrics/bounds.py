"""P-values of "the mean loss is above the risk" that hold for any number of labels and any distribution of losses."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fleet.lab.metrics.curve import Array

_PRECISION = 1e-6
_MOST = 10_000_000
BOLDEST = 0.75
"""Share of what could be lost in one round that a bet stakes at most."""

PValue = Callable[[float, int, float], float]
"""A function (mean_loss, n, risk) -> p-value that never falls as the mean loss rises."""


def hoeffding_bentkus(mean_loss: float, n: int, risk: float) -> float:
    """Return the smaller of Hoeffding's (relative entropy form) and Bentkus's bound, for losses in [0, 1].

    Source: Angelopoulos et al. 2021, Learn then Test, proposition 3 (Hoeffding 1963; Bentkus 2004); taking the smaller
    needs no correction, since both bound the same tail probability.
    """
    hoeffding = math.exp(-n * _relative_entropy(min(mean_loss, risk), risk))
    # A mean of floats can end a hair above a whole number of losses.
    bentkus = math.e * binomial_cdf(math.ceil(n * mean_loss - 1e-9), n, risk)
    return min(1.0, hoeffding, bentkus)


def binomial(mean_loss: float, n: int, risk: float) -> float:
    """Return P(Binomial(n, risk) <= losses seen), for losses that are 0 or 1 only: the exact tail and so never larger.

    Source: Clopper & Pearson 1934.
    """
    return binomial_cdf(round(n * mean_loss), n, risk)


def betting(losses: Array, risk: float, delta: float) -> float:
    """Return a p-value of "the mean loss is at least `risk`" for losses in [0, 1] in random order.

    It sees how much the losses vary, which the bounds above do not: with little variance it is far smaller. `delta` is
    the level that the stakes are meant for; the p-value holds for any.
    Source: Waudby-Smith & Ramdas 2024, Estimating means of bounded random variables by betting, theorem 3 and (26):
    one over the largest wealth of a bet against it, by Ville's inequality.
    """
    n = np.arange(1, len(losses) + 1)
    means = (0.5 + np.cumsum(losses)) / (n + 1)
    variances = (0.25 + np.cumsum((losses - means) ** 2)) / (n + 1)
    before = np.concatenate(([0.25], variances[:-1]))
    stakes = np.minimum(np.sqrt(2.0 * math.log(1.0 / delta) / (before * len(losses))), BOLDEST / (1.0 - risk))
    wealth = np.cumsum(np.log1p(stakes * (risk - losses)))
    return min(1.0, math.exp(-float(wealth.max(initial=0.0))))


def binomial_cdf(k: int, n: int, p: float) -> float:
    """Return P(Binomial(n, p) <= k), summed in logarithms; 0 < p < 1 and 0 <= k."""
    if k >= n:
        return 1.0
    ratios = np.arange(n, n - k, -1) / np.arange(1, k + 1)
    logs = n * math.log1p(-p) + np.concatenate(([0.0], np.cumsum(np.log(ratios * p / (1.0 - p)))))
    return min(1.0, float(np.exp(logs).sum()))


def _relative_entropy(mean: float, risk: float) -> float:
    """Return the relative entropy of Bernoulli(mean) from Bernoulli(risk), in nats."""
    zero = 0.0 if mean == 0.0 else mean * math.log(mean / risk)
    one = 0.0 if mean == 1.0 else (1.0 - mean) * math.log((1.0 - mean) / (1.0 - risk))
    return zero + one


def largest_passing(n: int, risk: float, delta: float, p_value: PValue) -> float:
    """Return the largest total loss of n labels with a p-value of at most `delta`, to a millionth; -1 if none.

    As p rises with the loss, testing a loss and comparing it with this number are the same; for whole losses exactly.
    """
    if p_value(0.0, n, risk) > delta:
        return -1.0
    low, high = 0.0, float(n)
    while high - low > _PRECISION:
        middle = (low + high) / 2
        if p_value(middle / n, n, risk) <= delta:
            low = middle
        else:
            high = middle
    return float(round(high)) if p_value(round(high) / n, n, risk) <= delta else low


def smallest_n(mean_loss: float, risk: float, delta: float, p_value: PValue) -> int | None:
    """Return the number of labels at which this mean loss gets a p-value of at most `delta`; None if no number does.

    For no loss at all that is log(delta) / log(1 - risk).
    """
    if mean_loss >= risk:
        return None
    high = 1
    while p_value(_at(mean_loss, high), high, risk) > delta:
        high *= 2
        if high > _MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if p_value(_at(mean_loss, middle), middle, risk) <= delta:
            high = middle
        else:
            low = middle
    return high


def _at(mean_loss: float, n: int) -> float:
    """Return the mean loss as n labels can show it: whole losses, rounded up."""
    return math.ceil(n * mean_loss - 1e-9) / n
