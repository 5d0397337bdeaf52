"""Fits a scorer to labels, as elaborate as their number allows and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from sklearn.isotonic import IsotonicRegression

from fleet.lab.learning.labels import Label
from fleet.lab.learning.sample import Array, Rows, Sample, log_odds, probabilities, sample_of
from fleet.lab.metrics.logistic import ridge_logistic
from fleet.model.calibration import Fit, Scorer
from fleet.model.errors import ConfigError
from policies.confidence.scorer import check
from policies.confidence.signals import SIGNALS

BASE = "min_logit"
FOR_PLATT = 50
FOR_LOGISTIC = 200
FOR_ISOTONIC = 1_000
"""Minimum labels for using, or trying, each method: with fewer it fits the noise (Platt 1999; Niculescu-Mizil & Caruana
2005 put isotonic regression's worth at a thousand).
"""

FOLDS = 5
_STRENGTHS = (1.0, 10.0, 100.0)
"""Penalties (1 / C) tried for the full signal vector, on standardised signals."""
_SLOPE_PRECISION = 4.0
_INTERCEPT_PRECISION = 0.25
"""Prior precisions: a slope is 1 give or take 0.5, an intercept 0 give or take 2, roughly as the start says."""
_FLATTEST = 0.01
"""Minimum slope: confidence may be nearly worthless, but a few odd labels never turn it upside down (see `rank_of`)."""
_CONSTANT = 1e-6
"""Minimum deviation; a signal that varies less says nothing."""
_CLEARLY = 2.0

_Fitter = Callable[[Sample], Scorer]


def fit(labels: Sequence[Label], base: str = BASE, parent: Scorer | None = None) -> Scorer:
    """Fit the scorer for these labels, starting from `parent` or else from the `base` signal taken at its word.

    By effective number of labels: below 50 one temperature; below 200 Platt's slope and intercept; from 200 the full
    signal vector, if that beats Platt by cross-validated log-loss; from 1,000 isotonic knots on top, if they lower the
    cross-validated Brier score. "Beats" means by more than two standard errors of the paired difference; signals that
    all say the same (answers of one token) are left with Platt. Everything is shrunk towards the start, of which only
    the linear part is used. The same labels give the same scorer.

    Raises: ConfigError naming the field and the rule, for labels (none, one class only, not finite), base or parent.
    """
    start = start_of(base, parent)
    return fit_sample(checked(labels, start), start)


def start_of(base: str, parent: Scorer | None) -> Scorer:
    """Return the start of a fit: the parent without its knots, or the base signal as it is."""
    if base not in SIGNALS:
        raise ConfigError("base", f"must be among {', '.join(SIGNALS)}; got {base!r}")
    if parent is None:
        return Scorer(Fit.PRIOR, (base,), (1.0,), 0.0)
    check(parent)
    return Scorer(parent.fit, parent.signals, parent.weights, parent.intercept)


def checked(labels: Sequence[Label], start: Scorer) -> Sample:
    """Return the labels as arrays. Raises: ConfigError like `fit`."""
    sample = sample_of(labels, start.signals)
    if sample.good.min() == sample.good.max():
        raise ConfigError("labels", "must hold both good answers and bad ones")
    return sample


def fit_sample(sample: Sample, start: Scorer) -> Scorer:
    """Fit like `fit`, to labels that are checked already."""
    if sample.size < FOR_PLATT:
        return _temperature(sample, start)
    platt = partial(_platt, start=start)
    if sample.size < FOR_LOGISTIC:
        return platt(sample)
    linear = _best_linear(sample, platt, start) if may_mix(sample, start) else platt
    if sample.size < FOR_ISOTONIC:
        return linear(sample)
    curved = partial(_isotonic, linear=linear)
    errors = [(crossed(fitter, sample) - sample.good) ** 2 for fitter in (linear, curved)]
    return curved(sample) if _beats(errors[1], errors[0], sample.weights) else linear(sample)


def fit_value(sample: Sample, lost: Array, scorer: Scorer) -> Scorer | None:
    """Fit the probability that keeping an answer loses nothing, where that sorts answers better than `scorer` does.

    `lost` is 1.0 where the answer was wrong and the stronger one right. The order is that of P(good), unless one of
    several signals has a clearly lower cross-validated log-loss of losing nothing ("clearly" as in `fit`). None: it has
    not, or the stronger answer was right wherever this one was wrong, so that nothing is left to learn.
    """
    kept_well = 1.0 - lost
    if kept_well.min() == kept_well.max() or np.array_equal(kept_well, sample.good):
        return None
    found = fit_sample(replace(sample, good=kept_well), start_of(BASE, scorer))
    return None if rank_of(found) == rank_of(scorer) else found


def rank_of(scorer: Scorer) -> tuple[tuple[str, float], ...]:
    """Return a rank that two scorers share exactly if they order all answers alike: signals with relative weights.

    Temperature, Platt and isotonic knots never change it.
    """
    largest = max(abs(weight) for weight in scorer.weights) or 1.0
    return tuple(
        (name, round(weight / largest, 9)) for name, weight in zip(scorer.signals, scorer.weights, strict=True)
    )


def may_mix(sample: Sample, start: Scorer) -> bool:
    """Return whether `fit` has a choice between the start's order of answers and one of several signals."""
    return sample.size >= FOR_LOGISTIC and len({*start.signals, *_distinct(sample, start.signals)}) > 1


def crossed(fitter: _Fitter, sample: Sample) -> Array:
    """Return for every label the probability by a scorer that was fitted without its fold."""
    folds = _folds(sample.good)
    stated = np.empty(len(folds))
    for fold in range(FOLDS):
        inside = np.flatnonzero(folds == fold)
        held = sample.take(inside)
        stated[inside] = probabilities(fitter(sample.take(np.flatnonzero(folds != fold))), held.columns)
    return stated


def _folds(good: Array) -> Rows:
    """Return the folds: every fifth good label and every fifth bad one share a fold."""
    folds = np.empty(len(good), dtype=np.intp)
    for value in (0.0, 1.0):
        members = np.flatnonzero(good == value)
        folds[members] = np.arange(len(members)) % FOLDS
    return folds


def _temperature(sample: Sample, start: Scorer) -> Scorer:
    odds = log_odds(start, sample.columns)
    slope = _ridge(odds[:, None], sample, (1.0,), (_SLOPE_PRECISION,), 0.0)[0]
    return _scaled(Fit.TEMPERATURE, start, max(float(slope), _FLATTEST), 0.0)


def _platt(sample: Sample, start: Scorer) -> Scorer:
    odds = log_odds(start, sample.columns)
    one = np.ones_like(odds)
    slope, intercept = _ridge(
        np.column_stack((odds, one)), sample, (1.0, 0.0), (_SLOPE_PRECISION, _INTERCEPT_PRECISION), 0.0
    )
    if slope < _FLATTEST:
        slope = _FLATTEST
        intercept = _ridge(one[:, None], sample, (0.0,), (_INTERCEPT_PRECISION,), slope * odds)[0]
    return _scaled(Fit.PLATT, start, float(slope), float(intercept))


def _ridge(
    x: Array, sample: Sample, centre: Sequence[float], precision: Sequence[float], offset: Array | float
) -> Array:
    offsets = np.broadcast_to(offset, sample.good.shape)
    return ridge_logistic(x, sample.good, sample.weights, np.array(centre), np.array(precision), offsets)


def _scaled(method: Fit, start: Scorer, slope: float, intercept: float) -> Scorer:
    weights = tuple(slope * weight for weight in start.weights)
    return Scorer(method, start.signals, weights, slope * start.intercept + intercept)


def _best_linear(sample: Sample, platt: _Fitter, start: Scorer) -> _Fitter:
    """Return the full vector with the penalty that cross-validates best, or Platt where that does not clearly lose."""
    fitters = [partial(_logistic, start=start, strength=strength) for strength in _STRENGTHS]
    losses = [_log_loss(crossed(fitter, sample), sample.good) for fitter in fitters]
    best = min(range(len(fitters)), key=lambda index: float(sample.weights @ losses[index]))
    plain = _log_loss(crossed(platt, sample), sample.good)
    return fitters[best] if _beats(losses[best], plain, sample.weights) else platt


def _logistic(sample: Sample, start: Scorer, strength: float) -> Scorer:
    """Fit Platt, plus what all signals together explain of its errors; standardisation is folded into the weights."""
    platt = _platt(sample, start)
    names = _distinct(sample, start.signals)
    if not names or len({*start.signals, *names}) == 1:
        return platt
    raw = np.column_stack([sample.columns[name] for name in names])
    mean = np.average(raw, axis=0, weights=sample.weights)
    scale = raw.std(axis=0)
    x = np.column_stack(((raw - mean) / scale, np.ones(len(raw))))
    precision = [strength] * len(names) + [_INTERCEPT_PRECISION]
    b = _ridge(x, sample, [0.0] * len(precision), precision, log_odds(platt, sample.columns))
    weights = dict(zip(platt.signals, platt.weights, strict=True))
    for name, extra in zip(names, b[:-1] / scale, strict=True):
        weights[name] = weights.get(name, 0.0) + float(extra)
    intercept = platt.intercept + float(b[-1] - (b[:-1] / scale) @ mean)
    return Scorer(Fit.LOGISTIC, tuple(weights), tuple(weights.values()), intercept)


def _distinct(sample: Sample, first: Sequence[str]) -> list[str]:
    """Return the signals, `first` ones first, without constant ones and those that order answers like an earlier one.

    A second signal in the same order can only bend the curve, which isotonic knots do better.
    """
    found: dict[bytes, str] = {}
    for name in (*first, *sample.columns):
        column = sample.columns[name]
        if column.std() > _CONSTANT:
            order = np.unique(column, return_inverse=True)[1]
            found.setdefault(order.tobytes(), name)
    return list(found.values())


def _isotonic(sample: Sample, linear: _Fitter) -> Scorer:
    """Fit the linear scorer with a knot per level step of the isotonic regression.

    The knots rise strictly, so the order of answers stays: steps are joined by slopes, the ends are drawn half-way to
    0 and 1, and no step is held to be closer to 0 or 1 than half a label.
    """
    scorer = linear(sample)
    stated = probabilities(scorer, sample.columns)
    closest = 0.5 / len(stated)
    fitted = IsotonicRegression(y_min=closest, y_max=1.0 - closest).fit(stated, sample.good, sample.weights)
    levels, step = np.unique(fitted.predict(stated).round(12), return_inverse=True)
    centres = np.bincount(step, sample.weights * stated) / np.bincount(step, sample.weights)
    inner = [(float(x), float(y)) for x, y in zip(centres, levels, strict=True) if 0.0 < x < 1.0]
    knots = ((0.0, inner[0][1] / 2), *inner, (1.0, (1.0 + inner[-1][1]) / 2))
    return Scorer(Fit.ISOTONIC, scorer.signals, scorer.weights, scorer.intercept, knots)


def _log_loss(stated: Array, good: Array) -> Array:
    right = np.where(good == 1.0, stated, 1.0 - stated)
    loss: Array = -np.log(np.maximum(right, 1e-12))
    return loss


def _beats(new: Array, old: Array, weights: Array) -> bool:
    """Return whether `new` has the lower weighted mean, by more than _CLEARLY standard errors of the difference."""
    gain = old - new
    mean = float(np.average(gain, weights=weights))
    error = float(np.sqrt((weights**2) @ (gain - mean) ** 2) / weights.sum())
    return mean > _CLEARLY * error
