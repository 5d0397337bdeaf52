"""Replays recorded requests as traffic, and watches it for drift from what a calibration was fitted on."""

from __future__ import annotations

import numpy as np

from fleet.lab.evaluation.calibration import labels_of, sample_of_replay
from fleet.lab.evaluation.files import Replay
from fleet.lab.evaluation.report import DriftReport
from fleet.lab.learning.calibrate import Goal, UnusableLabels, calibrate
from fleet.lab.learning.sample import probabilities
from fleet.lab.learning.thresholds import losses_of
from fleet.lab.metrics.curve import Array
from fleet.model.calibration import Calibration, CalibrationKey, Threshold, ThresholdMode
from fleet.model.errors import ConfigError
from fleet.model.target import FLEET, LatencyClass, Target
from policies.confidence import drift

_RECORDED = Target("weak", FLEET, "recorded", 0.0, 0.0, 1, frozenset(), LatencyClass.FAST, 1)


def watch(
    replay: Replay, stream: Replay, risk: float, delta: float, rng: np.random.Generator
) -> tuple[DriftReport, DriftReport]:
    """Calibrate on the first half of `replay`; watch `stream`, and the second half as the control.

    Raises: ConfigError if the first half makes no calibration.
    """
    half = len(replay) // 2
    labels = labels_of(replay.rows(slice(half)))
    goal = Goal(ThresholdMode.GUARANTEE, risk, delta)
    found = calibrate(CalibrationKey("weak"), _RECORDED, labels, "strong", goal, None, 0.0, "recorded", rng)
    if isinstance(found, UnusableLabels):
        raise ConfigError(f"first half of {replay.name}: {found.field}", found.rule)
    return _watched(stream, found, risk), _watched(replay.rows(slice(half, None)), found, risk)


def _watched(traffic: Replay, calibration: Calibration, risk: float) -> DriftReport:
    """Run the alarms over the requests in order. Here every request has a label; in production a sample has."""
    assert calibration.threshold is not None, "a guarantee always has one"
    threshold = calibration.threshold
    columns = sample_of_replay(traffic).columns
    stated, sorted_by = (probabilities(scorer, columns) for scorer in (calibration.scorer, calibration.sorter))
    histogram, bet = drift.DriftDetector(), drift.LossTest(risk)
    after, psi, loss_alarm = None, None, False
    losses = _losses(traffic, sorted_by, threshold)
    for row, (confidence, loss) in enumerate(zip(stated.tolist(), losses, strict=True), 1):
        histogram, bet = histogram.observe(confidence, calibration.edges), bet.after(loss)
        loss_alarm = loss_alarm or bet.alarm()
        if after is None and (loss_alarm or histogram.alarm(calibration.labels)):
            after, psi = row, drift.psi(histogram.counts)
    return DriftReport(
        stream=traffic.name,
        rows=len(traffic),
        alarm=after is not None,
        after=after,
        psi=drift.psi(histogram.counts) if psi is None else psi,
        loss_alarm=loss_alarm,
        guarantee="holds" if after is None else "withdrawn",
        threshold_before=threshold.value,
        threshold_after=threshold.value if after is None else threshold.safer,
    )


def _losses(traffic: Replay, stated: Array, threshold: Threshold) -> list[float]:
    lost = losses_of(traffic.weak_correct, traffic.strong_correct) * (stated >= threshold.value)
    return [float(loss) for loss in lost]
