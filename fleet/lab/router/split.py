"""A training of a router judged on a test set, and the means over several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleet.lab.evaluation.report import Interval
from fleet.lab.metrics import curve as curves
from fleet.lab.metrics.curve import Array
from fleet.lab.metrics.metrics import auroc, bootstrap_ci, brier, brier_constant, ece, ece_floor
from fleet.lab.router.files import LabelledPrompts
from fleet.model.router import Router
from policies.routing.learned_router import read

GRID = np.linspace(0.0, 1.0, 101)
"""Shares of strong calls at which curves of test sets of any size are averaged."""
_RESAMPLES = 300
_HALF = len(GRID) // 2


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """The result of one order of escalation; `quality` is on GRID, the others None where the gap is too small."""

    quality: Array
    apgr: float | None
    apgr_ci: Interval | None
    apgr_sd: float | None
    cpt50: float | None
    cpt80: float | None
    cpt95: float | None

    @property
    def quality_at_half(self) -> float:
        return float(self.quality[_HALF])


@dataclass(frozen=True, slots=True, eq=False)
class RouterScores:
    """A router on a test set. `router` abstains out of distribution, `forced` does not; `chance` abstains too."""

    weak: float
    strong: float
    oracle: float
    needed: float
    gap_ci: Interval | None
    router: Order
    forced: Order
    length: Order
    random: Order
    table: Order | None
    chance: Array
    suffices: Array
    unlike: float
    kept_wrong: float
    auroc: float | None
    brier: float
    brier_constant: float
    ece: float
    ece_floor: float

    @property
    def n(self) -> int:
        return len(self.chance)


def judge(
    router: Router, test: LabelledPrompts, rng: np.random.Generator, by_task: Array | None = None
) -> RouterScores:
    """Judge the router on every prompt of the test set, beside other orders; higher `by_task` keeps the weak answer."""
    answers: Sequence[str | None] = test.answers or [None] * len(test)
    readings = [read(router, prompt, answer) for prompt, answer in zip(test.prompts, answers, strict=True)]
    forced = np.array([reading.suffices for reading in readings])
    familiar = np.array([reading.familiar for reading in readings])
    # A router that abstains knows no more than the share of training prompts for which the small model sufficed.
    chance = np.where(familiar, forced, router.suffices_share)
    suffices = (test.weak_good >= test.strong_good).astype(np.float64)
    kept = np.argsort(chance)[len(test) // 2 :]
    length = curves.length_score([len(prompt) for prompt in test.prompts])
    return RouterScores(
        weak=float(test.weak_good.mean()),
        strong=float(test.strong_good.mean()),
        oracle=float(np.maximum(test.weak_good, test.strong_good).mean()),
        needed=float(1 - suffices.mean()),
        gap_ci=bootstrap_ci(lambda gain: float(gain.mean()), [test.strong_good - test.weak_good], rng, _RESAMPLES),
        router=_order(chance, test, rng),
        forced=_order(forced, test, rng),
        length=_order(length, test, rng),
        random=_order(curves.random_score(len(test)), test, rng),
        table=None if by_task is None else _order(by_task, test, rng),
        chance=chance,
        suffices=suffices,
        unlike=float(1 - familiar.mean()),
        kept_wrong=float(1 - test.weak_good[kept].mean()),
        auroc=auroc(chance, suffices),
        brier=brier(chance, suffices),
        brier_constant=brier_constant(suffices),
        ece=ece(chance, suffices),
        ece_floor=ece_floor(chance, rng),
    )


def middle(orders: Sequence[Order]) -> Order:
    """Return the mean order over seeds, with the standard deviation of its APGR."""
    found = [order.apgr for order in orders if order.apgr is not None]
    intervals = [order.apgr_ci for order in orders if order.apgr_ci is not None]
    return Order(
        quality=np.mean([order.quality for order in orders], axis=0),
        apgr=mean(found),
        apgr_ci=(mean_of([low for low, _ in intervals]), mean_of([high for _, high in intervals]))
        if intervals
        else None,
        apgr_sd=float(np.std(found, ddof=1)) if len(found) > 1 else None,
        cpt50=mean([order.cpt50 for order in orders]),
        cpt80=mean([order.cpt80 for order in orders]),
        cpt95=mean([order.cpt95 for order in orders]),
    )


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the defined values; None where there is none."""
    defined = [value for value in values if value is not None]
    return mean_of(defined) if defined else None


def mean_of(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _order(score: Array, test: LabelledPrompts, rng: np.random.Generator) -> Order:
    curve = curves.router(score, test.weak_good, test.strong_good)
    return Order(
        quality=np.interp(GRID, curve.shares, curve.quality),
        apgr=curves.apgr(curve),
        apgr_ci=bootstrap_ci(_apgr, (score, test.weak_good, test.strong_good), rng, _RESAMPLES),
        apgr_sd=None,
        cpt50=curves.cpt(curve, 0.50),
        cpt80=curves.cpt(curve, 0.80),
        cpt95=curves.cpt(curve, 0.95),
    )


def _apgr(score: Array, weak_good: Array, strong_good: Array) -> float | None:
    return curves.apgr(curves.router(score, weak_good, strong_good))
