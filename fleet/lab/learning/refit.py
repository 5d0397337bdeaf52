"""The decision whether a newly fitted scorer may replace the one in use."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from fleet.lab.learning.labels import Label
from fleet.lab.learning.sample import probabilities, sample_of
from fleet.lab.metrics import metrics
from fleet.model.calibration import Scorer

LARGEST_ECE = 0.05
FLOORS = 1.5
"""Limits of the calibration error: 0.05, or this many times that of a perfect forecaster."""

HELD_OUT_PERCENT = 30


class RefitReason(StrEnum):
    FIRST = "first"
    BRIER_IMPROVES = "brier_improves"
    BRIER_DOES_NOT_IMPROVE = "brier_does_not_improve"
    ECE_TOO_HIGH = "ece_too_high"
    NO_HELD_OUT_LABELS = "no_held_out_labels"


@dataclass(frozen=True, slots=True)
class RefitDecision:
    """The decision on a candidate. `brier_before` is the current scorer's; numbers are None if not measured."""

    accepted: bool
    reason: RefitReason
    brier: float | None = None
    brier_before: float | None = None
    ece: float | None = None
    ece_floor: float | None = None


def heldout(job_id: str) -> bool:
    """Return whether the labels of this job judge scorers instead of fitting them: always the same three of ten.

    A cryptographic hash, so that it has nothing to do with the checksum by which shadow comparisons are drawn.
    """
    digest = hashlib.sha256(job_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100 < HELD_OUT_PERCENT


def accept(
    candidate: Scorer, current: Scorer | None, heldout: Sequence[Label], rng: np.random.Generator
) -> RefitDecision:
    """Accept the candidate if it improves the Brier score and its ECE is low, on labels it has not seen.

    Its Brier score must be lower than the current scorer's (if there is one), and its ECE at most max(0.05, 1.5 x that
    of a perfect forecaster). `rng` draws the perfect forecasters.

    Raises: ConfigError naming the label and its field if a scorer cannot be applied.
    """
    if not heldout:
        return RefitDecision(False, RefitReason.NO_HELD_OUT_LABELS)
    needed = {*candidate.signals, *(current.signals if current else ())}
    sample = sample_of(heldout, tuple(needed))
    stated = probabilities(candidate, sample.columns)
    brier = float(np.average((stated - sample.good) ** 2, weights=sample.weights))
    before = None
    if current is not None:
        errors = (probabilities(current, sample.columns) - sample.good) ** 2
        before = float(np.average(errors, weights=sample.weights))
    ece = metrics.ece(stated, sample.good, weights=sample.weights)
    floor = metrics.ece_floor(stated, rng, weights=sample.weights)
    ruling = _ruling(brier, before, ece, floor)
    return RefitDecision(ruling in (RefitReason.FIRST, RefitReason.BRIER_IMPROVES), ruling, brier, before, ece, floor)


def _ruling(brier: float, before: float | None, ece: float, floor: float) -> RefitReason:
    if before is not None and brier >= before:
        return RefitReason.BRIER_DOES_NOT_IMPROVE
    if ece > max(LARGEST_ECE, FLOORS * floor):
        return RefitReason.ECE_TOO_HIGH
    return RefitReason.FIRST if before is None else RefitReason.BRIER_IMPROVES
