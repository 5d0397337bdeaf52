"""`fleet evaluate --live`: the worth of a running fleet's ladder, and what the fleet itself achieves with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fleet.lab.evaluation.drawing import Drawing, PlottedCurve, Point, Reliability
from fleet.lab.evaluation.report import Interval, PolicyRow, plain
from fleet.lab.metrics import metrics
from fleet.lab.metrics.curve import Array, apgr, cascade, cpt, oracle_score
from fleet.model.calibration import Calibration, CalibrationKey, OutputKind
from fleet.model.target import Target
from policies.confidence.lookup import calibration_for
from policies.confidence.scorer import probability
from policies.confidence.signals import Evidence

GRID = 41
"""Thresholds tried per rung: every 2.5 % of its answers."""
_THOUSAND = 1000
_DRAWS = 500


@dataclass(frozen=True, slots=True)
class Tried:
    """A target's answer to an example, right or wrong. `kind` and `evidence` are what a calibration reads."""

    kind: OutputKind
    evidence: Evidence | None
    good: bool
    usd: float


@dataclass(frozen=True, slots=True)
class LiveExample:
    """An example with every target's answer, by target name."""

    task: str
    tried: Mapping[str, Tried]


@dataclass(frozen=True, slots=True)
class Deployed:
    """The fleet's own results on `n` examples: share of right answers, mean price, answers by target."""

    n: int
    quality: float
    usd: float
    escalation_rate: float
    kept_wrong: float | None
    by_target: Mapping[str, int]
    calibrated: int


@dataclass(frozen=True, slots=True)
class LiveReport:
    """The worth of the ladder on `n` examples that no calibration has seen.

    `weak` and `strong` are the first and the last target alone; `oracle` takes a right answer where any target has
    one. `apgr` and `cptXX` are those of the whole ladder over measured dollars, from always-weak to always-strong:
    `cptXX` is the part of that range to pay for XX % of the gap. The thresholds behind them were chosen on the
    `labels` examples that calibrate. `two_tier_apgr` skips the targets between and counts calls of the strong one;
    no order of answers could reach more than `two_tier_oracle_apgr`. `margin` is the minimum distance of the ladder's
    curve above the mixing line. `auroc`, `brier` and `ece` are of the weak target's calibrated confidence.
    """

    n: int
    labels: int
    weak: float
    strong: float
    oracle: float
    apgr: float | None
    apgr_ci: Interval | None
    cpt50: float | None
    cpt80: float | None
    cpt95: float | None
    two_tier_apgr: float | None
    two_tier_oracle_apgr: float | None
    two_tier_cpt50: float | None
    margin: float
    auroc: float | None
    brier: float
    ece: float
    ece_floor: float
    kept_wrong: float | None
    escalation_rate: float
    violation_rate: float | None
    refused: bool
    reason: str
    rows: tuple[PolicyRow, ...]
    fleet: Deployed
    drawing: Drawing

    def as_json(self) -> dict[str, Any]:
        """Return all of it but the drawing, ready for `json.dumps`."""
        values: dict[str, Any] = plain({name: value for name, value in asdict(self).items() if name != "drawing"})
        return values


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """The examples as arrays, a row per rung: right or wrong, price, calibrated confidence."""

    good: Array
    usd: Array
    confidence: Array

    def take(self, rows: npt.NDArray[np.intp]) -> _Table:
        return _Table(self.good[:, rows], self.usd[:, rows], self.confidence[:, rows])


Calibrations = Mapping[CalibrationKey, Calibration]


def evaluate_live(
    labelled: Sequence[LiveExample],
    judged: Sequence[LiveExample],
    ladder: Sequence[Target],
    calibrations: Calibrations,
    deployed: Deployed,
    rng: np.random.Generator,
) -> LiveReport:
    """Evaluate on `judged`; `labelled` are the examples the calibrations were fitted on, `ladder` weakest first."""
    known, seen = _table(labelled, ladder, calibrations), _table(judged, ladder, calibrations)
    settings = _frontier(known)
    points = _points(seen, settings)
    weak, strong = float(seen.good[0].mean()), float(seen.good[-1].mean())
    pair = cascade(seen.confidence[0], seen.good[0], seen.good[-1])
    best = cascade(oracle_score(seen.good[0], seen.good[-1]), seen.good[0], seen.good[-1])
    area = _area(seen, points)
    confidence, good = seen.confidence[0], seen.good[0]
    margin = min(quality - _mixed(seen, usd) for usd, quality in points)
    return LiveReport(
        n=len(judged),
        labels=len(labelled),
        weak=weak,
        strong=strong,
        oracle=float(seen.good.max(axis=0).mean()),
        apgr=area,
        apgr_ci=_interval(seen, settings, rng),
        cpt50=_paid_for(seen, points, 0.50),
        cpt80=_paid_for(seen, points, 0.80),
        cpt95=_paid_for(seen, points, 0.95),
        two_tier_apgr=apgr(pair),
        two_tier_oracle_apgr=apgr(best),
        two_tier_cpt50=cpt(pair, 0.50),
        margin=margin,
        auroc=metrics.auroc(confidence, good),
        brier=metrics.brier(confidence, good),
        ece=metrics.ece(confidence, good),
        ece_floor=metrics.ece_floor(confidence, rng),
        kept_wrong=deployed.kept_wrong,
        escalation_rate=deployed.escalation_rate,
        violation_rate=None,
        refused=False,
        reason=_conclusion(area, margin, deployed, weak, strong, seen),
        rows=_rows(seen, ladder, deployed, rng),
        fleet=deployed,
        drawing=_drawing(seen, points, deployed, len(judged)),
    )


def _table(examples: Sequence[LiveExample], ladder: Sequence[Target], calibrations: Calibrations) -> _Table:
    rows = [[example.tried[target.name] for example in examples] for target in ladder]
    confidence = [[_confidence(target, example, calibrations) for example in examples] for target in ladder[:-1]]
    return _Table(
        np.array([[tried.good for tried in row] for row in rows], dtype=np.float64),
        np.array([[tried.usd for tried in row] for row in rows], dtype=np.float64),
        np.array(confidence, dtype=np.float64),
    )


def _confidence(target: Target, example: LiveExample, calibrations: Calibrations) -> float:
    tried = example.tried[target.name]
    calibration = calibration_for(target, example.task, tried.kind, calibrations)
    if calibration is None or tried.evidence is None:
        return 0.0
    return probability(calibration.scorer, tried.evidence)


def _frontier(known: _Table) -> list[tuple[float, ...]]:
    """Return the thresholds, one per rung, that no others beat in both price and right answers: from cheap to dear."""
    grids = [np.quantile(row, np.linspace(0, 1, GRID)) for row in known.confidence]
    tried = [tuple(map(float, values)) for values in np.array(np.meshgrid(*grids)).reshape(len(grids), -1).T]
    outcomes = sorted((*_outcome(known, thresholds), thresholds) for thresholds in tried)
    hull: list[tuple[float, float, tuple[float, ...]]] = []
    for usd, quality, thresholds in outcomes:
        while len(hull) > 1 and _bends_up(hull[-2], hull[-1], (usd, quality)):
            hull.pop()
        if not hull or quality > hull[-1][1]:
            hull.append((usd, quality, thresholds))
    return [thresholds for _, _, thresholds in hull]


def _bends_up(a: tuple[Any, ...], b: tuple[Any, ...], c: tuple[float, float]) -> bool:
    """Return whether b lies on or below the line from a to c: mixing those two would be as good or better."""
    return bool((b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0]))


def _outcome(table: _Table, thresholds: Sequence[float]) -> tuple[float, float]:
    """Return the mean price of a request and the share of right answers under these thresholds."""
    open_, usd, good = np.ones(table.good.shape[1], dtype=np.bool_), 0.0, 0.0
    n = table.good.shape[1]
    for rung, threshold in enumerate((*thresholds, -np.inf)):
        usd += float(table.usd[rung][open_].sum()) / n
        kept = open_ if rung == len(thresholds) else open_ & (table.confidence[rung] >= threshold)
        good += float(table.good[rung][kept].sum()) / n
        open_ = open_ & ~kept
    return usd, good


def _points(table: _Table, settings: Sequence[tuple[float, ...]]) -> list[Point]:
    """Return the ladder's curve: always-weak, the chosen thresholds from cheap to dear, always-strong."""
    weak, strong = _alone(table, 0), _alone(table, -1)
    between = sorted(_outcome(table, thresholds) for thresholds in settings)
    return [weak, *(point for point in between if weak[0] < point[0] < strong[0]), strong]


def _alone(table: _Table, rung: int) -> Point:
    return float(table.usd[rung].mean()), float(table.good[rung].mean())


def _mixed(table: _Table, usd: float) -> float:
    """Return the share of right answers of random routing between weak and strong at this price."""
    (low, weak), (high, strong) = _alone(table, 0), _alone(table, -1)
    return weak + (strong - weak) * (usd - low) / (high - low)


def _area(table: _Table, points: Sequence[Point]) -> float | None:
    (low, weak), (high, strong) = _alone(table, 0), _alone(table, -1)
    if strong - weak < 0.02 or high <= low:
        return None
    usd, quality = np.array(points).T
    return float(np.trapezoid((quality - weak) / (strong - weak), (usd - low) / (high - low)))


def _paid_for(table: _Table, points: Sequence[Point], share: float) -> float | None:
    """Return the part of the range from always-weak to always-strong to pay until `share` of the gap is recovered."""
    (low, weak), (high, strong) = _alone(table, 0), _alone(table, -1)
    paid = [usd for usd, quality in points if quality >= weak + share * (strong - weak)]
    return (min(paid) - low) / (high - low) if paid and high > low else None


def _interval(table: _Table, settings: Sequence[tuple[float, ...]], rng: np.random.Generator) -> Interval | None:
    rows = np.arange(table.good.shape[1])

    def drawn(chosen: npt.NDArray[np.intp]) -> float | None:
        sample = table.take(chosen)
        return _area(sample, _points(sample, settings))

    return metrics.bootstrap_ci(drawn, (rows,), rng, _DRAWS)


def _rows(
    table: _Table, ladder: Sequence[Target], deployed: Deployed, rng: np.random.Generator
) -> tuple[PolicyRow, ...]:
    """Return the rows of every target alone, of the right answers of any, and of the fleet itself."""
    n = table.good.shape[1]
    alone = [
        PolicyRow(target.name, n, float(good.mean()), _mean_ci(good, rng), float(rung > 0), float(usd.mean()))
        for rung, (target, good, usd) in enumerate(zip(ladder, table.good, table.usd, strict=True))
    ]
    best = table.good.max(axis=0)
    return (
        *alone,
        PolicyRow("oracle", n, float(best.mean()), _mean_ci(best, rng), float((table.good[0] < best).mean())),
        PolicyRow("fleet", deployed.n, deployed.quality, None, deployed.escalation_rate, deployed.usd),
    )


def _mean_ci(values: Array, rng: np.random.Generator) -> Interval | None:
    return metrics.bootstrap_ci(lambda sample: float(sample.mean()), (values,), rng, _DRAWS)


def _conclusion(
    area: float | None, margin: float, deployed: Deployed, weak: float, strong: float, table: _Table
) -> str:
    price = deployed.usd / _alone(table, -1)[0]
    worth = "the gap is too small to say" if area is None else f"the ladder recovers {area:.3f} of the gap on average"
    line = "above the mixing line everywhere" if margin >= -1e-12 else f"up to {-margin:.3f} below the mixing line"
    return (
        f"{worth}, {line}; the fleet is right in {deployed.quality:.1%} at {price:.0%} of the price of the strong"
        f" target alone ({strong:.1%}; weak alone {weak:.1%})"
    )


def _drawing(table: _Table, points: Sequence[Point], deployed: Deployed, n: int) -> Drawing:
    pair = cascade(table.confidence[0], table.good[0], table.good[-1], table.usd[0], table.usd[-1])
    assert pair.usd is not None, "prices were given"
    two = zip((_THOUSAND * pair.usd).tolist(), pair.quality.tolist(), strict=True)
    stated, good = table.confidence[0], table.good[0]
    best = table.good.max(axis=0)
    cheapest = np.where(table.good[0] > 0, table.usd[0], table.usd[0] + table.usd[-1])
    return Drawing(
        title=f"the ladder of this fleet: {n:,} held-out requests",
        cost_label="US dollars per 1,000 requests",
        lines=(
            PlottedCurve("the whole ladder", tuple(map(_scaled, points))),
            PlottedCurve("first and last target only", tuple(two)),
        ),
        weak=_scaled(_alone(table, 0)),
        strong=_scaled(_alone(table, -1)),
        oracle=(_THOUSAND * float(cheapest.mean()), float(best.mean())),
        chosen=_scaled((deployed.usd, deployed.quality)),
        reliability=(Reliability("calibrated", metrics.reliability(stated, good), metrics.ece(stated, good)),),
        ece_floor=metrics.ece_floor(stated, np.random.default_rng(0)),
    )


def _scaled(point: Point) -> Point:
    return _THOUSAND * point[0], point[1]
