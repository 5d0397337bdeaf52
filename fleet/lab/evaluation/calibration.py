"""The truth of the calibrated confidence, on answers it was not fitted on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import numpy as np
import numpy.typing as npt

from fleet.lab.evaluation.files import Replay
from fleet.lab.evaluation.report import Calibrated, Calibrations
from fleet.lab.learning.fit import BASE, FOLDS, crossed, fit_sample, start_of
from fleet.lab.learning.labels import Label
from fleet.lab.learning.sample import Sample, probabilities, sample_of
from fleet.lab.metrics.curve import Array
from fleet.lab.metrics.logistic import ridge_logistic
from fleet.lab.metrics.metrics import brier, ece, ece_floor
from fleet.model.attempt import Features
from fleet.model.calibration import Fit, Scorer
from policies.confidence.signals import Evidence

Fitter = Callable[[Sample], Scorer]
Rows = npt.NDArray[np.int64]

FEWEST_JUDGED = 50
"""Minimum rows left to judge on; with fewer, calibration error is all noise: labels are then drawn with replacement."""
_FLOOR_DRAWS = 400
"""Simulations for one floor, shared out among the fits it is averaged over."""
_START = start_of(BASE, parent=None)


def _temperature(sample: Sample) -> Scorer:
    odds = sample.columns[BASE][:, None]
    one = np.ones(1)
    [slope] = ridge_logistic(odds, sample.good, sample.weights, one, one, np.zeros(len(odds)))
    return Scorer(Fit.TEMPERATURE, (BASE,), (float(slope),), 0.0)


SHIPPED = "calibrated"
FITTERS: Mapping[str, Fitter] = {
    SHIPPED: partial(fit_sample, start=_START),
    "temperature": _temperature,
    "recorded": lambda sample: _START,
}
"""The fits compared: what ships, one temperature, and the recorded confidence taken at its word."""


def labels_of(replay: Replay) -> list[Label]:
    """Return the labels that live answers with this one recorded log-probability would have given.

    Lengths of prompt and answer, and the number of tokens, are left out: by cross-validation on recorded cascades of
    multiple-choice and short questions they did not help.
    """
    columns = (replay.weak_logprob, replay.weak_correct, replay.strong_correct)
    return [
        Label(_evidence(logprob), good=bool(good), strong_good=bool(strong))
        for logprob, good, strong in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _evidence(logprob: float) -> Evidence:
    aggregates = dict.fromkeys(("sum", "mean", "min", "q10", "q25"), logprob)
    return Evidence(Features(**aggregates, count=1, margin=0.0, entropy=0.0))


def sample_of_replay(replay: Replay) -> Sample:
    return sample_of(labels_of(replay), _START.signals)


def cross_fitted(sample: Sample, rng: np.random.Generator) -> tuple[Calibrations, Mapping[str, Array]]:
    """Judge every row by a fit that has not seen it; return also each calibration's probability of every row."""
    stated = {name: crossed(fitter, sample) for name, fitter in FITTERS.items()}
    n = len(sample.good)
    each = tuple(_judged(name, [(p, sample.good)], rng, _FLOOR_DRAWS) for name, p in stated.items())
    return Calibrations(n * (FOLDS - 1) // FOLDS, FOLDS, n, "by cross-fitting", each), stated


def by_labels(sample: Sample, labels: int, draws: int, rng: np.random.Generator) -> Calibrations:
    """Fit on `labels` random rows, judge on the others; if too few are left, draw with replacement and judge on all."""
    n = len(sample.good)
    replace = n - labels < FEWEST_JUDGED
    splits = [_split(n, labels, replace, rng) for _ in range(draws)]
    floor_draws = math.ceil(_FLOOR_DRAWS / draws)
    each = tuple(_judged(name, _fits(sample, fitter, splits), rng, floor_draws) for name, fitter in FITTERS.items())
    how = "drawn with replacement from the file as the population" if replace else "drawn, the other rows judged"
    return Calibrations(labels, draws, len(splits[0][1]), how, each)


def _split(n: int, labels: int, replace: bool, rng: np.random.Generator) -> tuple[Rows, Rows]:
    if replace:
        return rng.integers(n, size=labels), np.arange(n)
    order = rng.permutation(n)
    return order[:labels], order[labels:]


def _fits(sample: Sample, fitter: Fitter, splits: list[tuple[Rows, Rows]]) -> Iterator[tuple[Array, Array]]:
    for fitted, judged in splits:
        held = sample.take(judged)
        yield probabilities(fitter(sample.take(fitted)), held.columns), held.good


def _judged(name: str, fits: Iterable[tuple[Array, Array]], rng: np.random.Generator, floor_draws: int) -> Calibrated:
    each = [(ece(p, good), ece_floor(p, rng, draws=floor_draws), brier(p, good)) for p, good in fits]
    error, floor, squared = np.mean(each, axis=0).tolist()
    return Calibrated(name, error, floor, squared)
