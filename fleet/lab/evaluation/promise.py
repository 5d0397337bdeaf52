"""Tests a promised risk by resampling: how often it is broken, and the price of keeping it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import numpy.typing as npt

from fleet.lab.evaluation.files import Replay
from fleet.lab.evaluation.report import Method, Promise
from fleet.lab.learning.thresholds import grid_of, learn_then_test_many, losses_of
from fleet.lab.metrics.bounds import PValue, binomial, hoeffding_bentkus, smallest_n
from fleet.lab.metrics.curve import Array
from fleet.lab.metrics.metrics import kept_wrong


def _naive(mean_loss: float, n: int, risk: float) -> float:
    """Return the p-value of trusting the sample blindly: no doubt at all where its mean is within the risk."""
    return 0.0 if mean_loss <= risk else 1.0


SHIPPED = "ltt_hb"
METHODS: Mapping[str, PValue] = {SHIPPED: hoeffding_bentkus, "ltt_binomial": binomial, "naive": _naive}
"""Ways to choose a threshold: what ships, the exact binomial tail, and the sample taken at its word."""


@dataclass(frozen=True, slots=True)
class ThresholdOutcome:
    """The effect of a threshold on the whole file; `kept_wrong` is None where it keeps nothing."""

    loss: float
    escalated: float
    accuracy_minus_strong: float
    kept_wrong: float | None


def outcome(replay: Replay, threshold: float) -> ThresholdOutcome:
    """Return the effect of `threshold`, a recorded confidence from which on answers are kept."""
    kept = confidences(replay) >= threshold
    weak, strong = replay.weak_correct, replay.strong_correct
    return ThresholdOutcome(
        loss=float(np.mean(kept * losses_of(weak, strong))),
        escalated=float(np.mean(~kept)),
        accuracy_minus_strong=float(np.mean(kept * (weak - strong))),
        kept_wrong=kept_wrong(kept, weak),
    )


def confidences(replay: Replay) -> Array:
    """Return the recorded confidence of each row; calibration keeps its order, so thresholds mean the same."""
    stated: Array = np.exp(replay.weak_logprob)
    return stated


def thresholds(replay: Replay, risk: float, delta: float, draws: npt.NDArray[np.intp], method: str = SHIPPED) -> Array:
    """Return the threshold chosen for each row of `draws` (indices of labelled rows). Infinity keeps nothing."""
    stated, losses = confidences(replay), losses_of(replay.weak_correct, replay.strong_correct)
    return learn_then_test_many(stated, losses, grid_of(stated), risk, delta, draws, METHODS[method])


def try_promise(
    replay: Replay, risk: float, delta: float, labels: int, resamples: int, rng: np.random.Generator
) -> Promise:
    """Draw `labels` rows with replacement, choose a threshold on them by each method, and test it on the whole file."""
    draws = rng.integers(len(replay), size=(resamples, labels))
    everything = np.arange(len(replay))[None, :]
    [best] = thresholds(replay, risk, delta, everything, "naive").tolist()
    fewest = smallest_n(0.0, risk, delta, METHODS[SHIPPED]) or labels
    return Promise(
        risk=risk,
        delta=delta,
        labels=labels,
        labels_missing=max(0, fewest - labels),
        resamples=resamples,
        optimum=outcome(replay, best).escalated,
        methods=tuple(_tried(replay, risk, name, thresholds(replay, risk, delta, draws, name)) for name in METHODS),
    )


def _tried(replay: Replay, risk: float, name: str, chosen: Array) -> Method:
    found = {value: outcome(replay, value) for value in np.unique(chosen).tolist()}
    each = [found[value] for value in chosen.tolist()]
    wrong = [one.kept_wrong for one in each if one.kept_wrong is not None]
    return Method(
        name=name,
        violation_rate=fmean(one.loss > risk for one in each),
        escalation_rate=fmean(one.escalated for one in each),
        accuracy_minus_strong=fmean(one.accuracy_minus_strong for one in each),
        kept_wrong=fmean(wrong) if wrong else None,
    )
