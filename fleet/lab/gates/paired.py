"""Tests of two models on the same questions: exact for any number of questions, whatever their difficulty."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fleet.lab.metrics.bounds import binomial, smallest_n
from fleet.lab.weekly.intervals import Interval, upper_share


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of `n` questions the adapter answered better than its base, and how many worse; the rest are ties."""

    n: int
    better: int
    worse: int

    @property
    def differ(self) -> int:
        return self.better + self.worse

    @property
    def difference(self) -> float:
        return (self.better - self.worse) / self.n if self.n else 0.0


def counted(pairs: Iterable[tuple[bool, bool]]) -> Counts:
    """Count pairs of whether the base and the adapter were right."""
    seen = list(pairs)
    better = sum(adapter and not base for base, adapter in seen)
    return Counts(len(seen), better, sum(base and not adapter for base, adapter in seen))


def win_rate(counts: Counts, alpha: float) -> Interval:
    """Return the share of better ones among those that differ, each bound exact at level `alpha`.

    Its lower bound is above one half exactly if the sign test rejects "not better" at this level.
    Source: Clopper & Pearson 1934; McNemar 1947 in its exact form.
    """
    if not counts.differ:
        return Interval(0.5, 0.0, 1.0)
    low = lower_share(counts.better, counts.differ, alpha)
    return Interval(counts.better / counts.differ, low, _upper(counts.better, counts.differ, alpha))


def improvement(counts: Counts, alpha: float) -> Interval:
    """Return how much more of the questions the adapter gets right, given how many answers differ at all.

    Nothing is known of it where no answer differs: the bounds are those of a change in one question.
    """
    if not counts.differ:
        return Interval(0.0, 0.0, 0.0)
    rate, share = win_rate(counts, alpha), counts.differ / counts.n
    return Interval(counts.difference, (2 * rate.low - 1) * share, (2 * rate.high - 1) * share)


def change(counts: Counts, alpha: float) -> Interval:
    """Return the change over all such questions; what is truly lost is more than `-low` in at most `alpha` of samples.

    The share that gets worse is below its upper bound and the share that gets better above its lower one, each but for
    half of `alpha`.
    """
    half, n = alpha / 2, counts.n
    if not n:
        return Interval(0.0, -1.0, 1.0)
    low = lower_share(counts.better, n, half) - _upper(counts.worse, n, half)
    high = _upper(counts.better, n, half) - lower_share(counts.worse, n, half)
    return Interval(counts.difference, low, high)


def lower_share(hits: int, n: int, alpha: float) -> float:
    """Return a bound that the share of hits is below in at most `alpha` of such samples."""
    return 1.0 - _upper(n - hits, n, alpha)


@lru_cache(maxsize=4096)
def _upper(hits: int, n: int, alpha: float) -> float:
    return upper_share((np.arange(n) < hits).astype(np.float64), np.ones(n), alpha)


def missing_to_improve(counts: Counts, alpha: float) -> int:
    """Return how many more questions it takes to show an improvement, if answers go on to differ as they do.

    Without a difference, or where it is no improvement so far, the fewest with which one could be shown.
    """
    fewest = math.ceil(math.log2(1 / alpha))
    if counts.better <= counts.worse:
        return max(0, fewest - counts.n)
    needed = smallest_n(counts.worse / counts.differ, 0.5, alpha, binomial) or fewest
    return max(0, math.ceil(needed * counts.n / counts.differ) - counts.n)


def missing_to_be_safe(counts: Counts, margin: float, alpha: float) -> int:
    """Return how many more questions it takes to exclude a loss above `margin`, if as many go on to get worse.

    Where too many do for any number of questions, the fewest with which a loss could be excluded.
    """
    worse = counts.worse / counts.n if counts.n else 0.0
    needed = smallest_n(worse, margin, alpha / 2, binomial) or smallest_n(0.0, margin, alpha / 2, binomial) or 0
    return max(0, needed - counts.n)
