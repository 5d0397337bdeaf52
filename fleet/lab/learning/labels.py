"""Labels: answers that somebody judged as good or not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fleet.lab.learning.collected import LabelledAnswer
from fleet.model.errors import ConfigError
from policies.confidence.signals import Evidence

LARGEST_WEIGHT = 20.0
"""Weight at which others are clipped: one lucky label would outvote all others (a little bias for much variance)."""


@dataclass(frozen=True, slots=True)
class Label:
    """A judged answer: `good`, or not; `strong_good` the same of the stronger target's answer, None if unknown.

    `weight` says how many answers of the traffic this one stands for, in units of the most often drawn kind.
    """

    evidence: Evidence
    good: bool
    strong_good: bool | None = None
    weight: float = 1.0


def weight_of(propensity: float, most: float = 1.0) -> float:
    """Return the inverse propensity, clipped at LARGEST_WEIGHT, of a label drawn with this probability.

    Only ratios of weights matter, so `most` is the largest propensity among the labels it will be used with: a sample
    drawn at 1 and 2 % then has weights 2 and 1, where against 1.0 both would be clipped to the same.
    Raises: ConfigError unless 0 < propensity <= most <= 1.
    """
    if not 0.0 < propensity <= most <= 1.0:
        raise ConfigError("propensity", "must be above 0 and at most the largest one, itself at most 1")
    return min(most / propensity, LARGEST_WEIGHT)


def weighted(labels: Sequence[LabelledAnswer]) -> list[Label]:
    """Return the labels with their weights: for comparisons, by how rarely such ones were drawn among these.

    How likely a user speaks up is unknown, so such a label counts like the most often drawn comparison.
    """
    most = max((each.propensity for each in labels if each.propensity is not None), default=1.0)
    return [
        Label(
            each.evidence,
            each.good,
            each.strong_good,
            each.weight if each.propensity is None else weight_of(each.propensity, most),
        )
        for each in labels
    ]


def check_weight(label: Label, field: str) -> None:
    """Refuse a weight that is not a positive finite number. Raises: ConfigError naming `field`."""
    if not (math.isfinite(label.weight) and label.weight > 0.0):
        raise ConfigError(f"{field}.weight", "must be a finite number above 0")
