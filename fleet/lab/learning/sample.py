"""Labels as arrays, and scorers applied to them many at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleet.lab.learning.labels import Label, check_weight
from fleet.model.calibration import Scorer
from fleet.model.errors import ConfigError
from policies.confidence.signals import SIGNALS

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """n labels: a column of n values per signal, 1.0 for good and 0.0 for bad, and weights that add up to `size`.

    `size` is the effective number of labels (Kish 1965): n where all weigh the same, fewer where they do not.
    """

    columns: Mapping[str, Array]
    good: Array
    weights: Array

    @property
    def size(self) -> float:
        return float(self.weights.sum())

    def take(self, rows: Rows) -> Sample:
        columns = {name: column[rows] for name, column in self.columns.items()}
        return Sample(columns, self.good[rows], self.weights[rows])


def sample_of(labels: Sequence[Label], needed: Sequence[str]) -> Sample:
    """Return all labels, with the `needed` signals and every other one that no label lacks.

    Raises: ConfigError naming the label and its field if a signal is not finite, a needed one is missing, or the
    weight is no positive number; ConfigError if there is no label.
    """
    if not labels:
        raise ConfigError("labels", "must hold at least one answer")
    for index, label in enumerate(labels):
        check_weight(label, f"labels[{index}]")
    good = np.array([label.good for label in labels], dtype=np.float64)
    known = [name for name in SIGNALS if name in needed or _is_known(name, labels)]
    weights = np.array([label.weight for label in labels])
    return Sample({name: _column(name, labels) for name in known}, good, weights * weights.sum() / (weights**2).sum())


def evened(weights: Array, rng: np.random.Generator) -> Rows:
    """Return rows that stand for the traffic without weights: all of them, or a draw in proportion if weights differ.

    As many are drawn as the weighted labels are worth (Kish's effective number).
    """
    if weights.min() == weights.max():
        return np.arange(len(weights))
    share = weights / weights.sum()
    return rng.choice(len(weights), size=math.ceil(1.0 / float(share @ share)), p=share)


def _is_known(name: str, labels: Sequence[Label]) -> bool:
    match name:
        case "p_true_logit":
            return all(label.evidence.p_true is not None for label in labels)
        case "agreement":
            return all(label.evidence.agreement is not None for label in labels)
        case _:
            return True


def _column(name: str, labels: Sequence[Label]) -> Array:
    signal = SIGNALS[name]
    column = np.empty(len(labels))
    for index, label in enumerate(labels):
        try:
            column[index] = signal(label.evidence)
        except ValueError as error:
            raise ConfigError(f"labels[{index}].evidence", str(error)) from error
    return column


def log_odds(scorer: Scorer, columns: Mapping[str, Array]) -> Array:
    """Return intercept + sum(weights x signals), one per row: the scorer before its sigmoid and knots."""
    weighted = [weight * columns[name] for name, weight in zip(scorer.signals, scorer.weights, strict=True)]
    total: Array = np.sum(weighted, axis=0) + scorer.intercept
    return total


def sigmoid(odds: Array) -> Array:
    """Return 1 / (1 + exp(-odds)) without overflow."""
    p: Array = np.exp(-np.logaddexp(0.0, -odds))
    return p


def probabilities(scorer: Scorer, columns: Mapping[str, Array]) -> Array:
    """Return `policies.confidence.scorer.probability` of every row."""
    p = sigmoid(log_odds(scorer, columns))
    if not scorer.knots:
        return p
    knots = np.array(scorer.knots)
    through: Array = np.interp(p, knots[:, 0], knots[:, 1])
    return through
