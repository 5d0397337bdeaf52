"""The cost-quality curve of a cascade or a router, and the numbers that sum it up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MIN_GAP = 0.02
"""Minimum gap between strong and weak; below, shares of the gap are noise and not reported."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The outcome at every budget k = 0..n: the k requests with the lowest score go to the strong target.

    Equal scores are escalated in random order, and all values are expectations over that order, so the curve is
    straight inside a block of ties. `quality[k]` is the mean quality of all n answers. `usd[k]` is the mean price of a
    request, None where no prices are given; `usd_marginal[k]` counts the strong target only, as if the weak one were
    hosted at no extra cost. `always_weak_usd` and `always_strong_usd` are what sending everything to one target costs.
    """

    quality: Array
    usd: Array | None = None
    usd_marginal: Array | None = None
    always_weak_usd: float | None = None
    always_strong_usd: float | None = None

    @property
    def n(self) -> int:
        return len(self.quality) - 1

    @property
    def weak(self) -> float:
        return float(self.quality[0])

    @property
    def strong(self) -> float:
        return float(self.quality[-1])

    @property
    def gap(self) -> float:
        return self.strong - self.weak

    @property
    def shares(self) -> Array:
        """The share of requests that the strong target gets, for every budget."""
        return np.arange(self.n + 1) / self.n


def cascade(
    score: npt.ArrayLike,
    weak_good: npt.ArrayLike,
    strong_good: npt.ArrayLike,
    weak_usd: npt.ArrayLike | None = None,
    strong_usd: npt.ArrayLike | None = None,
) -> Curve:
    """Return a cascade's curve: the weak target answers, and is paid, every time; `score` says how far to trust it.

    All arguments have one finite value per request; a higher score keeps the weak answer; goodness is in [0, 1].
    """
    return _curve(score, weak_good, strong_good, weak_usd, strong_usd, weak_refund=0.0)


def router(
    score: npt.ArrayLike,
    weak_good: npt.ArrayLike,
    strong_good: npt.ArrayLike,
    weak_usd: npt.ArrayLike | None = None,
    strong_usd: npt.ArrayLike | None = None,
) -> Curve:
    """Return a router's curve: it decides before anything runs, so only one target is paid.

    The arguments are those of `cascade`.
    """
    return _curve(score, weak_good, strong_good, weak_usd, strong_usd, weak_refund=1.0)


def oracle_score(weak_good: npt.ArrayLike, strong_good: npt.ArrayLike) -> Array:
    """Return the best possible order, known only afterwards: the greatest gain is escalated first."""
    return _array(weak_good) - _array(strong_good)


def random_score(n: int) -> Array:
    """Return no order at all: the curve is the straight line from weak to strong."""
    return np.zeros(n)


def length_score(prompt_chars: npt.ArrayLike) -> Array:
    """Return the simplest order: long prompts are escalated first. A score that is no better learned nothing."""
    return -_array(prompt_chars)


def apgr(curve: Curve) -> float | None:
    """Return the average performance gap recovered: the mean over all budgets of (quality - weak) / (strong - weak).

    0.5 is random, above 1 is possible where the mix beats the strong target. None where the gap is below MIN_GAP.
    Source: RouteLLM (Ong et al. 2024), on the exact curve instead of ten bins.
    """
    if curve.gap < MIN_GAP:
        return None
    return float(np.trapezoid(curve.quality - curve.weak, curve.shares)) / curve.gap


def cpt(curve: Curve, share: float) -> float | None:
    """Return the call-performance threshold: the minimum share of strong calls that recovers `share` of the gap.

    None if none does, or where the gap is below MIN_GAP. Source: RouteLLM (Ong et al. 2024).
    """
    budget = _budget(curve, share)
    return None if budget is None else budget / curve.n


def cost_at(curve: Curve, share: float) -> float | None:
    """Return the cost of recovering `share` of the gap, divided by that of sending everything to the strong target."""
    budget = _budget(curve, share)
    if budget is None or curve.usd is None or not curve.always_strong_usd:
        return None
    return float(curve.usd[budget]) / curve.always_strong_usd


def usd_area(curve: Curve) -> float | None:
    """Return the APGR with real dollars on the axis, from the price of always-weak to the price of always-strong.

    A cascade that pays both targets reaches the right edge before it has escalated everything; its curve beyond
    is cut off. Random routing, which pays one target only, is 0.5. None without prices, where the strong target is
    not dearer, or where the gap is below MIN_GAP.
    """
    return _area(curve, curve.usd, curve.always_weak_usd)


def usd_area_marginal(curve: Curve) -> float | None:
    """Return `usd_area` as if the weak target were hosted at no extra cost: the axis begins at nothing."""
    return _area(curve, curve.usd_marginal, 0.0)


def _area(curve: Curve, usd: Array | None, left: float | None) -> float | None:
    right = curve.always_strong_usd
    if usd is None or left is None or right is None or right <= left or curve.gap < MIN_GAP:
        return None
    recovered = (curve.quality - curve.weak) / curve.gap
    return float(np.trapezoid(recovered, np.minimum(usd, right))) / (right - left)


def _budget(curve: Curve, share: float) -> int | None:
    if curve.gap < MIN_GAP:
        return None
    enough = np.flatnonzero(curve.quality >= curve.weak + share * curve.gap - _ROUNDING)
    return int(enough[0]) if len(enough) else None


def _curve(
    score: npt.ArrayLike,
    weak_good: npt.ArrayLike,
    strong_good: npt.ArrayLike,
    weak_usd: npt.ArrayLike | None,
    strong_usd: npt.ArrayLike | None,
    weak_refund: float,
) -> Curve:
    scores, weak, strong = _array(score), _array(weak_good), _array(strong_good)
    quality = weak.mean() + _mean_of_escalated(scores, strong - weak)
    if weak_usd is None or strong_usd is None:
        return Curve(quality)
    weak_prices, strong_prices = _array(weak_usd), _array(strong_usd)
    always_weak = float(weak_prices.mean())
    return Curve(
        quality,
        usd=always_weak + _mean_of_escalated(scores, strong_prices - weak_refund * weak_prices),
        usd_marginal=_mean_of_escalated(scores, strong_prices),
        always_weak_usd=always_weak,
        always_strong_usd=float(strong_prices.mean()),
    )


def _mean_of_escalated(scores: Array, values: Array) -> Array:
    """Return for every budget the sum of `values` over the escalated requests, divided by n."""
    _, block, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.concatenate(([0], np.cumsum(sizes)))
    sums = np.concatenate(([0.0], np.cumsum(np.bincount(block, weights=values))))
    at_budget: Array = np.interp(np.arange(len(scores) + 1), ends, sums)
    return at_budget / len(scores)


def _array(values: npt.ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)
