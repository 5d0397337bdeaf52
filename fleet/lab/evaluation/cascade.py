"""A recorded cascade and its baselines: rows, money and latency at one threshold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleet.lab.evaluation.files import Replay
from fleet.lab.evaluation.report import Interval, Latency, Money, PolicyRow
from fleet.lab.metrics import curve as curves
from fleet.lab.metrics.curve import Array, Curve
from fleet.lab.metrics.metrics import bootstrap_ci

Kept = npt.NDArray[np.bool_]
Draw = Callable[..., Curve]


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """An order of escalation and who is paid: a cascade asks the weak target first, a router asks one target only."""

    name: str
    score: Array
    draw: Draw = curves.cascade

    def curve(self, replay: Replay) -> Curve:
        prices = replay.weak_cost_usd, replay.strong_cost_usd
        return self.draw(self.score, replay.weak_correct, replay.strong_correct, *prices)


def confidence_of(replay: Replay) -> Baseline:
    return Baseline("confidence", replay.weak_logprob)


def oracle_of(replay: Replay) -> Baseline:
    return Baseline("oracle", curves.oracle_score(replay.weak_correct, replay.strong_correct))


def length_of(replay: Replay) -> Baseline | None:
    """Return the baseline by prompt length, or None where the file does not have the lengths."""
    return (
        None
        if replay.prompt_chars is None
        else Baseline("length", curves.length_score(replay.prompt_chars), curves.router)
    )


def rows(replay: Replay, kept: Kept, defined: bool, rng: np.random.Generator) -> tuple[PolicyRow, ...]:
    """Return rows for the recorded confidence, baselines at its escalation rate, the oracle, and both targets.

    Unless APGR is `defined`, rows leave the gap out. The row always_strong is a cascade that keeps nothing: it
    pays both targets, where the row strong pays one.
    """
    share = float(np.mean(~kept))
    needed = float(np.mean(replay.strong_correct > replay.weak_correct))
    random = Baseline("random", curves.random_score(len(replay)), curves.router)
    ways = [(confidence_of(replay), share), (random, share), (length_of(replay), share), (oracle_of(replay), needed)]
    return (
        _target("weak", replay.weak_correct, 0.0, replay.weak_cost_usd, None, rng),
        *(_row(replay, way, at, defined, rng) for way, at in ways if way is not None),
        _target("strong", replay.strong_correct, 1.0, None, replay.strong_cost_usd, rng),
        _target("always_strong", replay.strong_correct, 1.0, replay.weak_cost_usd, replay.strong_cost_usd, rng),
    )


def _target(
    name: str, good: Array, rate: float, weak_usd: Array | None, strong_usd: Array | None, rng: np.random.Generator
) -> PolicyRow:
    paid = [prices.mean() for prices in (weak_usd, strong_usd) if prices is not None]
    usd = float(sum(paid)) if paid else None
    return PolicyRow(name, len(good), float(good.mean()), mean_ci(good, rng), rate, usd)


def _row(replay: Replay, way: Baseline, share: float, defined: bool, rng: np.random.Generator) -> PolicyRow:
    curve = way.curve(replay)
    budget = round(share * curve.n)
    arrays = way.score, replay.weak_correct, replay.strong_correct

    def quality(score: Array, weak: Array, strong: Array) -> float:
        return float(curves.cascade(score, weak, strong).quality[budget])

    return PolicyRow(
        name=way.name,
        n=curve.n,
        quality=float(curve.quality[budget]),
        quality_ci=bootstrap_ci(quality, arrays, rng),
        escalation_rate=share,
        usd=None if curve.usd is None else float(curve.usd[budget]),
        apgr=curves.apgr(curve) if defined else None,
        apgr_ci=apgr_ci(way.score, replay, rng) if defined else None,
        cpt50=curves.cpt(curve, 0.50) if defined else None,
        cpt80=curves.cpt(curve, 0.80) if defined else None,
        cpt95=curves.cpt(curve, 0.95) if defined else None,
    )


def apgr_ci(score: Array, replay: Replay, rng: np.random.Generator) -> Interval | None:
    def statistic(score: Array, weak: Array, strong: Array) -> float | None:
        return curves.apgr(curves.cascade(score, weak, strong))

    return bootstrap_ci(statistic, (score, replay.weak_correct, replay.strong_correct), rng)


def mean_ci(values: Array, rng: np.random.Generator) -> Interval | None:
    return bootstrap_ci(lambda drawn: float(drawn.mean()), [values], rng)


def money(replay: Replay, kept: Kept) -> Money | None:
    """Return the prices; None where the file has none, or the strong target is free."""
    curve = confidence_of(replay).curve(replay)
    if curve.usd is None or curve.usd_marginal is None or not curve.always_strong_usd:
        return None
    assert curve.always_weak_usd is not None, "prices come together"
    budget = int(np.sum(~kept))
    return Money(
        weak_usd=curve.always_weak_usd,
        strong_usd=curve.always_strong_usd,
        area=curves.usd_area(curve),
        area_marginal=curves.usd_area_marginal(curve),
        chosen=float(curve.usd[budget]) / curve.always_strong_usd,
        chosen_marginal=float(curve.usd_marginal[budget]) / curve.always_strong_usd,
        cost95=curves.cost_at(curve, 0.95),
    )


def latency(replay: Replay, kept: Kept) -> Latency | None:
    """Return the latencies; None where the file does not have them for both targets."""
    weak, strong = replay.weak_latency_ms, replay.strong_latency_ms
    if weak is None or strong is None:
        return None
    return Latency(
        *_percentiles(weak[kept]),
        *_percentiles((weak + strong)[~kept]),
        *np.percentile(strong, (50, 95)).tolist(),
    )


def _percentiles(values: Array) -> tuple[float | None, float | None]:
    if not len(values):
        return None, None
    middle, high = np.percentile(values, (50, 95)).tolist()
    return middle, high
