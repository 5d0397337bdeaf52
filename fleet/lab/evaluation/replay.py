"""`fleet evaluate --replay`: the worth of a recorded cascade, and whether its calibration keeps its promises."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fleet.lab.evaluation import calibration, cascade
from fleet.lab.evaluation.drawing import Drawing, PlottedCurve, Point, Reliability
from fleet.lab.evaluation.files import Replay, read_cascade, read_replay
from fleet.lab.evaluation.promise import confidences, outcome, thresholds, try_promise
from fleet.lab.evaluation.report import (
    Calibrations,
    DriftReport,
    Gap,
    Interval,
    Operation,
    PolicyRow,
    Promise,
    ReplayReport,
    Trust,
)
from fleet.lab.evaluation.stream import watch
from fleet.lab.evaluation.verdict import conclusion, undefined, unpromised
from fleet.lab.learning.guards import guard
from fleet.lab.metrics import metrics
from fleet.lab.metrics.curve import Array, Curve
from fleet.model.errors import ConfigError

Promised = tuple[float, float]

PROMISED: Promised = (0.05, 0.10)
"""The default risk and delta of a promise."""
LABEL_COUNTS = (200, 500)
"""The default numbers of labels to try a promise with."""
CALIBRATION_DRAWS = 100
"""Maximum fits on few labels that are averaged; more would not change the second digit."""
_THOUSAND = 1000


def evaluate_replay(
    path: Path,
    labels: int | None = None,
    guarantee: Promised | None = None,
    resamples: int = 2000,
    seed: int = 1,
    stream: Path | None = None,
) -> ReplayReport:
    """Evaluate a replay file. The same arguments give the same report.

    `labels` fits the calibration on that many rows at a time instead of cross-fitting it; `guarantee` is (risk, delta)
    and tries that promise on `resamples` draws of labels; `stream` is a second file, watched for drift.

    Raises: ConfigError that names the file, line, column or option and the rule; OSError.
    """
    _check(labels, guarantee, resamples)
    replay = read_cascade(path)
    # Separate streams, so that asking for more never changes a number that was there without it.
    draws, folds, intervals, watching = np.random.default_rng(seed).spawn(4)
    promised = guarantee or PROMISED
    counts = LABEL_COUNTS if labels is None else (labels,)
    promises = tuple(try_promise(replay, *guarantee, n, resamples, draws) for n in counts) if guarantee else ()
    sample = calibration.sample_of_replay(replay)
    crossed, stated = calibration.cross_fitted(sample, folds)
    few = min(resamples, CALIBRATION_DRAWS)
    fits = crossed if labels is None else calibration.by_labels(sample, labels, few, folds)
    drifts = (None, None) if stream is None else watch(replay, read_replay(stream), *promised, watching)
    return _report(replay, promised, promises, fits, drifts, crossed, stated, intervals)


def _report(
    replay: Replay,
    promised: Promised,
    promises: tuple[Promise, ...],
    fits: Calibrations,
    drifts: tuple[DriftReport | None, DriftReport | None],
    crossed: Calibrations,
    stated: Mapping[str, Array],
    rng: np.random.Generator,
) -> ReplayReport:
    n, gaps = len(replay), replay.strong_correct - replay.weak_correct
    gap_ci = cascade.mean_ci(gaps, rng)
    silent = undefined(n, float(gaps.mean()), gap_ci)
    operation = _operation(replay, promised, promises)
    recorded = confidences(replay)
    kept = recorded >= operation.threshold
    off = guard(recorded, replay.weak_correct, replay.strong_correct, operation.threshold, rng)
    rows = cascade.rows(replay, kept, silent is None, rng)
    confidence = next(row for row in rows if row.name == "confidence")
    money = cascade.money(replay, kept)
    refusal = silent or unpromised(promises)
    return ReplayReport(
        file=replay.name,
        n=n,
        refused=refusal is not None,
        reason=refusal or conclusion(off, confidence, money, promises, drifts[0]),
        guard=off,
        gap=_gap(replay, confidence, gap_ci),
        trust=_trust(replay, fits, rng),
        operation=operation,
        rows=rows,
        calibration=fits,
        money=money,
        latency=cascade.latency(replay, kept),
        guarantee=promises,
        drift=drifts[0],
        control=drifts[1],
        drawing=_drawing(replay, rows, crossed, stated),
    )


def _check(labels: int | None, guarantee: Promised | None, resamples: int) -> None:
    if labels is not None and labels < 1:
        raise ConfigError("--labels", "must be at least 1")
    if guarantee is not None and not all(0 < value < 1 for value in guarantee):
        raise ConfigError("--guarantee", "must be EPS,DELTA, both between 0 and 1, such as 0.05,0.1")
    if resamples < 1:
        raise ConfigError("--resamples", "must be at least 1")


def _operation(replay: Replay, promised: Promised, promises: tuple[Promise, ...]) -> Operation:
    everything = np.arange(len(replay))[None, :]
    [threshold] = thresholds(replay, *promised, everything).tolist()
    at = outcome(replay, threshold)
    if not promises:
        return Operation(*promised, threshold, at.escalated, at.kept_wrong, at.accuracy_minus_strong, None)
    tried = promises[0].methods[0]
    return Operation(
        *promised, threshold, tried.escalation_rate, tried.kept_wrong, tried.accuracy_minus_strong, tried.violation_rate
    )


def _gap(replay: Replay, confidence: PolicyRow, gap_ci: Interval | None) -> Gap:
    weak, strong = replay.weak_correct, replay.strong_correct
    return Gap(
        weak=float(weak.mean()),
        strong=float(strong.mean()),
        oracle=float(np.maximum(weak, strong).mean()),
        gap=float((strong - weak).mean()),
        gap_ci=gap_ci,
        apgr=confidence.apgr,
        apgr_ci=confidence.apgr_ci,
        cpt50=confidence.cpt50,
        cpt80=confidence.cpt80,
        cpt95=confidence.cpt95,
    )


def _trust(replay: Replay, fits: Calibrations, rng: np.random.Generator) -> Trust:
    score, good = replay.weak_logprob, replay.weak_correct
    shipped = fits.each[0]
    return Trust(
        auroc=metrics.auroc(score, good),
        auroc_ci=metrics.bootstrap_ci(metrics.auroc, (score, good), rng),
        auprc=metrics.auprc(score, good),
        brier=shipped.brier,
        brier_constant=metrics.brier_constant(good),
        ece=shipped.ece,
        ece_floor=shipped.ece_floor,
    )


def _drawing(
    replay: Replay, rows: tuple[PolicyRow, ...], crossed: Calibrations, stated: Mapping[str, Array]
) -> Drawing:
    at = {row.name: _point(row) for row in rows}
    ways = (cascade.confidence_of(replay), cascade.length_of(replay))
    good = replay.weak_correct
    shipped, *_, recorded = crossed.each
    return Drawing(
        title=f"{replay.name}: {len(replay):,} requests",
        cost_label="share sent to the strong target" if rows[0].usd is None else "US dollars per 1,000 requests",
        lines=tuple(_line(way.name, way.curve(replay)) for way in ways if way is not None),
        weak=at["weak"],
        strong=at["strong"],
        oracle=at["oracle"],
        chosen=at["confidence"],
        reliability=tuple(
            Reliability(one.name, metrics.reliability(stated[one.name], good), one.ece) for one in (shipped, recorded)
        ),
        ece_floor=shipped.ece_floor,
    )


def _line(name: str, curve: Curve) -> PlottedCurve:
    costs = curve.shares if curve.usd is None else _THOUSAND * curve.usd
    return PlottedCurve(name, tuple(zip(costs.tolist(), curve.quality.tolist(), strict=True)))


def _point(row: PolicyRow) -> Point:
    return (row.escalation_rate if row.usd is None else _THOUSAND * row.usd), row.quality
