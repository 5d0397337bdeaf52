"""The findings of an evaluation, as plain values. Shares, rates and qualities are in [0, 1]; an interval is 95 %."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fleet.lab.evaluation.drawing import Drawing
from fleet.model.calibration import Guard

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A way to answer all n requests.

    `quality` is at `escalation_rate`; `usd` is the mean price of a request there. The other numbers are for the
    whole curve, and are None where a way has none.
    """

    name: str
    n: int
    quality: float
    quality_ci: Interval | None
    escalation_rate: float
    usd: float | None = None
    apgr: float | None = None
    apgr_ci: Interval | None = None
    cpt50: float | None = None
    cpt80: float | None = None
    cpt95: float | None = None


@dataclass(frozen=True, slots=True)
class Money:
    """Measured prices. Areas are those of `fleet.lab.metrics.curve`: random routing is 0.5.

    `chosen` is the price of a request at the chosen threshold, as a share of always-strong, and `cost95` the same
    where 95 % of the gap is recovered. Both pay the weak target on every request, except with `_marginal`: there
    it is hosted at no extra cost.
    """

    weak_usd: float
    strong_usd: float
    area: float | None
    area_marginal: float | None
    chosen: float
    chosen_marginal: float
    cost95: float | None


@dataclass(frozen=True, slots=True)
class Latency:
    """Measured latency in milliseconds; an escalated request waits for both targets."""

    kept_p50_ms: float | None
    kept_p95_ms: float | None
    escalated_p50_ms: float | None
    escalated_p95_ms: float | None
    strong_p50_ms: float
    strong_p95_ms: float


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The truth of one calibration's numbers, on answers it was not fitted on."""

    name: str
    ece: float
    ece_floor: float
    brier: float


@dataclass(frozen=True, slots=True)
class Calibrations:
    """Calibrations compared: `draws` fits on `labels` rows each, drawn as `how` says, judged on `judged` rows.

    Several fits are averaged, except with cross-fitting: there all rows are judged together, each by the fit that has
    not seen it.
    """

    labels: int
    draws: int
    judged: int
    how: str
    each: tuple[Calibrated, ...]


@dataclass(frozen=True, slots=True)
class Method:
    """A way to choose the threshold, over all resamples; all but the violation rate are means."""

    name: str
    violation_rate: float
    escalation_rate: float
    accuracy_minus_strong: float
    kept_wrong: float | None


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise tested: labels drawn with replacement from the file, and the file as the population.

    The promise: with probability 1 - `delta` at most `risk` of all requests are kept with an answer that is
    wrong where the strong one is right. `optimum` is the escalation rate of the best possible threshold.
    """

    risk: float
    delta: float
    labels: int
    labels_missing: int
    resamples: int
    optimum: float
    methods: tuple[Method, ...]


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The alarms on `rows` requests, after a calibration on the first half of the file.

    `after` is the request, from 1, at which the first alarm came: confidences moved, or kept answers lost more than
    was promised (`loss_alarm`, at any time). `psi` is the population stability index there, or at the end. The
    thresholds are calibrated confidences; an alarm withdraws the guarantee and puts the safer one in place.
    """

    stream: str
    rows: int
    alarm: bool
    after: int | None
    psi: float | None
    loss_alarm: bool
    guarantee: str
    threshold_before: float
    threshold_after: float


@dataclass(frozen=True, slots=True)
class Gap:
    """The gap between the two targets, and how much of it the cascade recovers; None where nothing can be said.

    `oracle` is the quality of always taking a right answer where there is one.
    """

    weak: float
    strong: float
    oracle: float
    gap: float
    gap_ci: Interval | None
    apgr: float | None
    apgr_ci: Interval | None
    cpt50: float | None
    cpt80: float | None
    cpt95: float | None


@dataclass(frozen=True, slots=True)
class Trust:
    """The trust in the confidence: ranks by the recorded one, probabilities by the calibrated one that ships."""

    auroc: float | None
    auroc_ci: Interval | None
    auprc: float | None
    brier: float
    brier_constant: float
    ece: float
    ece_floor: float


@dataclass(frozen=True, slots=True)
class Operation:
    """The effect of the chosen threshold: a recorded confidence from which an answer is kept, infinity keeps none.

    It keeps the promise (`risk`, `delta`) with all rows as labels. Where the promise was tried by resampling, the rates
    are means over the draws of the first number of labels, else they are those of the file.
    """

    risk: float
    delta: float
    threshold: float
    escalation_rate: float
    kept_wrong: float | None
    accuracy_minus_strong: float
    violation_rate: float | None


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """The whole report of a replay of `n` requests.

    `refused` is set where the data cannot support the statement asked for; `reason` then says why, and otherwise
    what the report concludes. `guard` says why such a cascade would be switched off in production.
    """

    file: str
    n: int
    refused: bool
    reason: str
    guard: Guard | None
    gap: Gap
    trust: Trust
    operation: Operation
    rows: tuple[PolicyRow, ...]
    calibration: Calibrations
    money: Money | None
    latency: Latency | None
    guarantee: tuple[Promise, ...]
    drift: DriftReport | None
    control: DriftReport | None
    drawing: Drawing

    def as_json(self) -> dict[str, Any]:
        """Return all of it but the drawing, ready for `json.dumps`, with the keys of gap, trust and operation on top.

        A number that is not finite is null.
        """
        parts = {name: value for name, value in asdict(self).items() if name not in ("drawing", *_FLAT)}
        flat = {name: value for part in _FLAT for name, value in asdict(getattr(self, part)).items()}
        values: dict[str, Any] = plain(parts | flat)
        return values


_FLAT = ("gap", "trust", "operation")


def plain(value: object) -> Any:
    """Return the value as `json.dumps` takes it; a number that is not finite becomes null."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {name: plain(inner) for name, inner in value.items()}
        case str():
            return value
        case Sequence():
            return [plain(inner) for inner in value]
        case _:
            return value
