"""Drift of traffic from what a calibration was fitted on: its confidences, and the losses of kept answers.

Two alarms. The first needs no labels: the histogram of confidences has moved (population stability index). The second
needs a few: the shadow sample's losses are more than was promised (a betting e-process). Either withdraws a promise.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

BINS = 10
WINDOW = 500
"""Answers after which an observation counts 1/e of a new one."""
FEWEST = 50
"""Answers before which a histogram of ten bins says nothing; the chi-square law needs about five in each."""
CUSTOMARY_PSI = 0.2
"""The shift that credit scoring, where the index comes from, acts on; smaller ones are real but harmless."""
FALSE_ALARM = 1e-4
"""The chance of an alarm without drift, at each independent look."""
_DEGREES = BINS - 1
_SPREAD = 2.0 / (9.0 * _DEGREES)
_QUANTILE = _DEGREES * (1.0 - _SPREAD + NormalDist().inv_cdf(1.0 - FALSE_ALARM) * math.sqrt(_SPREAD)) ** 3
"""Quantile of the chi-square law, by Wilson and Hilferty (1931)."""
_PSEUDO_COUNT = 0.5
_SAME = 1e-9

LOSS_ALPHA = 0.05
"""The chance that the loss test ever raises an alarm while the promise is kept."""


def psi(counts: Sequence[float], reference: Sequence[float] | None = None) -> float:
    """Return the population stability index, sum((p - q) x ln(p / q)); `reference` None: all bins equal.

    Half an observation is added to every bin of `counts`, so that an empty one is not infinitely surprising.
    Raises: ValueError unless both have as many bins, with something in every bin of `reference`.
    """
    expected = [1.0] * len(counts) if reference is None else reference
    if len(expected) != len(counts) or min(expected) <= 0.0:
        raise ValueError("reference: must have a positive number for every bin")
    whole, norm = sum(counts) + _PSEUDO_COUNT * len(counts), sum(expected)
    shares = [((count + _PSEUDO_COUNT) / whole, each / norm) for count, each in zip(counts, expected, strict=True)]
    return sum((p - q) * math.log(p / q) for p, q in shares)


def psi_limit(n: float, labels: int) -> float:
    """Return the PSI that is drift: more than chance makes of n answers and so many labels, plus a customary shift.

    Without drift PSI is chi-square with BINS - 1 degrees of freedom times (1/n + 1/labels), for the edges are an
    estimate too (Yurdakul & Naranjo 2020). Above its quantile it is no chance; it matters when CUSTOMARY_PSI is left
    after its mean is taken off.
    """
    noise = 1.0 / n + 1.0 / labels
    return max(CUSTOMARY_PSI + _DEGREES * noise, _QUANTILE * noise)


@dataclass(frozen=True, slots=True)
class DriftDetector:
    """A fading histogram of confidences over the decile bins of a calibration.

    `total` and `squares` are the sums of the observations' weights and of their squares.
    """

    counts: tuple[float, ...] = (0.0,) * BINS
    total: float = 0.0
    squares: float = 0.0

    @property
    def n(self) -> float:
        """The number of answers the histogram is worth: all at first, at most twice WINDOW later."""
        return self.total**2 / self.squares if self.squares else 0.0

    def observe(self, confidence: float, edges: Sequence[float]) -> DriftDetector:
        """Return the histogram with one more answer; `edges` are the calibration's nine inner deciles.

        It is unchanged if there are none: a calibration without edges is not watched.
        """
        if not edges:
            return self
        fade = 1.0 - 1.0 / WINDOW
        counts = [fade * count for count in self.counts]
        for place, share in bins_of(confidence, edges):
            counts[place] += share
        return DriftDetector(tuple(counts), fade * self.total + 1.0, fade * fade * self.squares + 1.0)

    def alarm(self, labels: int) -> bool:
        """Return whether the confidences have moved from those of the `labels` answers that gave the edges."""
        n = self.n
        return n >= FEWEST and psi(self.counts) > psi_limit(n, labels)


def bins_of(confidence: float, edges: Sequence[float]) -> list[tuple[int, float]]:
    """Return the bins a confidence belongs to, each with its share; the shares add up to 1.

    A value that is itself an edge, or several when many answers share it, lies in all bins that these edges bound: it
    is what fills them, the outer two by half. So bins hold a tenth each however many ties there are.
    """
    first, last = bisect_left(edges, confidence - _SAME), bisect_right(edges, confidence + _SAME)
    ties = last - first
    if not ties:
        return [(first, 1.0)]
    inner = [(place, 1.0 / ties) for place in range(first + 1, last)]
    return [(first, 0.5 / ties), *inner, (last, 0.5 / ties)]


@dataclass(frozen=True, slots=True)
class LossTest:
    """A bet against "the mean loss is at most `risk`", one answer of the shadow sample after the other.

    `wealth` is what a stake of 1 has become: if the promise is kept, it ever reaches 1 / alpha with a chance of at most
    alpha, however often it is checked (Ville's inequality). `n` answers so far had losses that sum up to `total`, their
    squares to `squares`. A loss in [0, 1] is 1 where an answer was kept, was wrong, and the strong one right; the
    mean is over all traffic, so drawn answers that escalated belong in it too, with loss 0.
    """

    risk: float
    wealth: float = 1.0
    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def after(self, loss: float, weight: float = 1.0) -> LossTest:
        """Return the test with one more loss.

        `weight` in (0, 1] is the smallest propensity in use over this answer's: the loss is moved towards the risk by
        as much, which leaves the hypothesis over all traffic as it is (see `learn_then_test`).
        Raises: ValueError unless both are in their range.
        """
        if not (0.0 <= loss <= 1.0 and 0.0 < weight <= 1.0):
            raise ValueError("loss, weight: must be in [0, 1] and (0, 1]")
        seen = self.risk + weight * (loss - self.risk)
        return replace(
            self,
            wealth=self.wealth * (1.0 + self._stake() * (seen - self.risk)),
            n=self.n + 1,
            total=self.total + seen,
            squares=self.squares + seen * seen,
        )

    def _stake(self) -> float:
        """Return the share to bet, from past losses only: roughly that of fastest growth, at most half the maximum.

        Source: Waudby-Smith & Ramdas 2024, aGRAPA, with their one prior observation of mean 1/2 and variance 1/4.
        """
        mean = (0.5 + self.total) / (self.n + 1)
        variance = (0.25 + self.squares - 2.0 * mean * self.total + self.n * mean * mean) / (self.n + 1)
        excess = mean - self.risk
        return min(max(excess / (variance + excess * excess), 0.0), 0.5 / self.risk)

    def alarm(self, alpha: float = LOSS_ALPHA) -> bool:
        return self.wealth >= 1.0 / alpha
