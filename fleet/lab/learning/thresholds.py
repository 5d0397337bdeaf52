"""The choice of a threshold: with a promise, for a budget, or as told."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fleet.lab.learning.sample import Array, Rows
from fleet.lab.metrics.bounds import BOLDEST, PValue, betting, binomial, hoeffding_bentkus, largest_passing, smallest_n
from fleet.model.calibration import Threshold, ThresholdMode
from fleet.model.errors import ConfigError

GRID = 101
SAFER = 4.0
"""Factor by which the risk promised while a guarantee is withdrawn is smaller."""
_ROUNDING = 1e-9
_STAKES = np.linspace(0.05, 1.0, 20)


def losses_of(weak_good: npt.ArrayLike, strong_good: npt.ArrayLike) -> Array:
    """Return 1.0 where keeping the weak answer costs something (it is wrong and the strong one right), else 0.0."""
    lost: Array = (~np.asarray(weak_good, dtype=np.bool_) & np.asarray(strong_good, dtype=np.bool_)).astype(np.float64)
    return lost


def grid_of(confidences: npt.ArrayLike, size: int = GRID) -> Array:
    """Return `size` quantiles of unlabelled traffic's confidences, each a value that occurs, rising, without repeats.

    The labelled answers' own confidences serve as well where nothing else is known: see `learn_then_test`.
    """
    values = _numbers("confidences", confidences)
    return np.unique(np.quantile(values, np.linspace(0.0, 1.0, size), method="inverted_cdf"))


def learn_then_test(
    confidences: npt.ArrayLike,
    losses: npt.ArrayLike,
    grid: npt.ArrayLike,
    risk: float,
    delta: float,
    p_value: PValue = hoeffding_bentkus,
    weights: npt.ArrayLike | None = None,
) -> Threshold:
    """Return the lowest threshold with a promise: with probability 1 - delta, the mean loss over traffic is <= risk.

    `losses` in [0, 1] are what each labelled answer costs if it is kept (`losses_of`); one that escalates costs
    nothing. From "escalate all" downward along `grid`, each threshold is tested and the last one before the first
    failure is taken; fixed-sequence testing needs no correction for their number. `safer` is the same for a quarter
    of the risk. An infinite value with no `labels_missing` means that more labels are not expected to help.

    As the loss only grows when the threshold falls, a too low threshold passes only if the one where the risk is
    crossed passes as well: one test decides, whatever the grid. So the grid may come from the same labels, and so may
    a scorer that leaves their order as it is.

    `weights` are for labels that were not drawn evenly. What is tested then is risk + w / w_max x (loss - risk): it
    lies in [0, 1], and its mean over the labels is above the risk exactly if that of the losses over all traffic is.
    So the promise holds without an estimate of what the weights add up to; labels of small weight just count little.
    As it varies far less than losses of 0 and 1 do, it is tested by `betting`, and `p_value` is for equal weights.

    Source: Angelopoulos et al. 2021, Learn then Test; Bates et al. 2021, theorem 1, for the falling loss.
    Raises: ConfigError naming the field and the rule; with p_value `binomial` also for losses between 0 and 1.
    """
    scale = _scale(weights, np.size(confidences))
    if not _are_equal(scale):
        return _by_betting(confidences, losses, grid, risk, delta, scale)
    rows = np.arange(len(scale))[None, :]
    found, safer = (
        float(learn_then_test_many(confidences, losses, grid, limit, delta, rows, p_value)[0])
        for limit in (risk, risk / SAFER)
    )
    missing = 0
    if found == math.inf:
        surest = np.asarray(losses, dtype=np.float64) * (np.asarray(confidences) >= np.max(grid))
        missing = _labels_missing(float(surest.mean()), len(scale), risk, delta, p_value)
    return Threshold(ThresholdMode.GUARANTEE, found, safer, risk, delta, missing)


def learn_then_test_many(
    confidences: npt.ArrayLike,
    losses: npt.ArrayLike,
    grid: npt.ArrayLike,
    risk: float,
    delta: float,
    draws: Rows,
    p_value: PValue = hoeffding_bentkus,
) -> Array:
    """Return the value that `learn_then_test` finds for every row of `draws`, each the indices of the labels drawn.

    All labels weigh the same. It is infinity where nothing passes. Two thousand draws of 500 labels take about a tenth
    of a second.
    Raises: ConfigError like `learn_then_test`.
    """
    values, costs, steps = _checked(confidences, losses, grid, risk, delta)
    if p_value is binomial and not np.isin(costs, (0.0, 1.0)).all():
        raise ConfigError("losses", "must be 0 or 1 for the binomial p-value")
    # An answer is kept by every threshold up to its confidence, so its loss counts in all cells up to its own.
    cells = np.searchsorted(steps, values, side="right")[draws]
    width = len(steps) + 1
    flat = (np.arange(len(draws))[:, None] * width + cells).ravel()
    per_cell = np.bincount(flat, costs[draws].ravel(), len(draws) * width).reshape(-1, width)
    kept = np.cumsum(per_cell[:, :0:-1], axis=1)[:, ::-1]
    passes = kept <= largest_passing(draws.shape[1], risk, delta, p_value) + _ROUNDING
    found: Array = np.where(passes.any(axis=1), steps[np.argmax(passes, axis=1)], math.inf)
    return found


def labels_missing(weights: npt.ArrayLike, risk: float, delta: float) -> int:
    """Return how many more labels it takes before any test could pass: until these would, if none were a loss."""
    scale = _scale(weights if np.size(weights) else None, np.size(weights))
    if _are_equal(scale):
        return _labels_missing(0.0, len(scale), risk, delta, binomial)
    none = np.zeros(len(scale))
    return 0 if _passes(none, scale, risk, delta) else max(1, _bets_missing(none, scale, risk, delta))


def _by_betting(
    confidences: npt.ArrayLike, losses: npt.ArrayLike, grid: npt.ArrayLike, risk: float, delta: float, scale: Array
) -> Threshold:
    """Return the threshold like `learn_then_test`, for labels that count by `scale`, a share of the largest weight.

    A bet may win on more losses where it loses on fewer, so it is not enough to test the steps of a grid: tested are
    all sets of losses that any threshold keeps, from none on, and so the one where the risk is crossed among them.
    """
    values, costs, steps = _checked(confidences, losses, grid, risk, delta)
    order = np.random.default_rng(len(values)).permutation(len(values))
    values, costs, scale = values[order], costs[order], scale[order]
    found, safer = (_lowest(values, costs, steps, scale, limit, delta) for limit in (risk, risk / SAFER))
    missing = 0
    if found == math.inf:
        missing = _bets_missing(costs * (values >= steps[-1]), scale, risk, delta)
    return Threshold(ThresholdMode.GUARANTEE, found, safer, risk, delta, missing)


def _lowest(values: Array, costs: Array, steps: Array, scale: Array, risk: float, delta: float) -> float:
    found = math.inf
    for lost in (*np.unique(values[costs > 0.0])[::-1].tolist(), -math.inf):
        if not _passes(costs * (values > lost), scale, risk, delta):
            break
        found = float(min(steps[steps > lost], default=math.inf))
    return found


def _passes(costs: Array, scale: Array, risk: float, delta: float) -> bool:
    return betting(risk + scale * (costs - risk), risk, delta) <= delta


def _bets_missing(costs: Array, scale: Array, risk: float, delta: float) -> int:
    """Return about how many more such labels win the bet, by the growth of the best constant stake.

    If they lose too much for any number of labels, it is the number without which no bet is ever won.
    """
    growth = _growth(scale * (risk - costs), risk)
    growth = growth if growth > 0.0 else _growth(scale * risk, risk)
    return max(0, math.ceil(math.log(1.0 / delta) / growth) - len(costs))


def _growth(gains: Array, risk: float) -> float:
    stakes = _STAKES * BOLDEST / (1.0 - risk)
    return float(np.log1p(stakes[:, None] * gains).mean(axis=1).max())


def budget_threshold(confidences: npt.ArrayLike, escalation_rate: float) -> Threshold:
    """Return the highest threshold that escalates at most this share of such traffic; it promises nothing else.

    Where many answers share one confidence, that may be clearly less than the share asked for.
    """
    if not 0.0 <= escalation_rate <= 1.0:
        raise ConfigError("escalation_rate", "must be between 0 and 1")
    values = np.sort(_numbers("confidences", confidences))
    escalated = math.floor(escalation_rate * len(values) + _ROUNDING)
    value = math.inf if escalated == len(values) else float(values[escalated]) if escalated else 0.0
    return Threshold(ThresholdMode.BUDGET, value, value)


def fixed_threshold(value: float) -> Threshold:
    """Return the value as told. `safer` is the same: where nothing is promised, nothing is withdrawn."""
    if math.isnan(value):
        raise ConfigError("threshold", "must be a number")
    return Threshold(ThresholdMode.FIXED, value, value)


def split(risk: float, delta: float, tiers: int) -> tuple[float, float]:
    """Return risk and delta for each tier that may keep an answer, so that together they keep the whole promise.

    A request is kept by one tier at most, so the tiers' losses add up, and so do their chances to fail (Bonferroni).
    """
    _check_promise(risk, delta)
    if tiers < 1:
        raise ConfigError("tiers", "must be at least 1")
    return risk / tiers, delta / tiers


def _labels_missing(surest: float, n: int, risk: float, delta: float, p_value: PValue) -> int:
    """Return how many more labels the surest answers need to pass, if they keep losing this much.

    If they lose too much for any number of labels, it is the number without which nothing ever passes.
    """
    needed = smallest_n(surest, risk, delta, p_value) or smallest_n(0.0, risk, delta, p_value) or 0
    return max(0, needed - n)


def _check_promise(risk: float, delta: float) -> None:
    for name, value in (("risk", risk), ("delta", delta)):
        if not 0.0 < value < 1.0:
            raise ConfigError(name, "must be above 0 and below 1")


def _numbers(name: str, values: npt.ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise ConfigError(name, "must be a list of finite numbers, at least one")
    return array


def _checked(
    confidences: npt.ArrayLike, losses: npt.ArrayLike, grid: npt.ArrayLike, risk: float, delta: float
) -> tuple[Array, Array, Array]:
    """Return confidences, losses, and the grid in rising order."""
    _check_promise(risk, delta)
    values, costs = _numbers("confidences", confidences), _numbers("losses", losses)
    if costs.min() < 0.0 or costs.max() > 1.0:
        raise ConfigError("losses", "must be between 0 and 1")
    if len(values) != len(costs):
        raise ConfigError("losses", "must be as many as confidences")
    return values, costs, np.unique(_numbers("grid", grid))


def _scale(weights: npt.ArrayLike | None, n: int) -> Array:
    """Return weights as shares of the largest one."""
    if weights is None:
        return np.ones(n)
    array = _numbers("weights", weights)
    if len(array) != n or array.min() <= 0.0:
        raise ConfigError("weights", "must be above 0, and as many as confidences")
    scale: Array = array / array.max()
    return scale


def _are_equal(scale: Array) -> bool:
    return not len(scale) or bool(scale.min() == scale.max())
