"""The promise for an adapter's answers: calibrations of its own, fitted on some questions and tested on others.

An adapter's confidence means something else than its base's, so nothing is taken over from the base's calibrations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fleet.lab.gates.findings import Finding, GateName
from fleet.lab.gates.outcomes import Pair, Tried
from fleet.lab.learning.collected import LabelledAnswer
from fleet.lab.learning.fitting import Calibrations, FitOutcome, fit_all
from fleet.lab.learning.refit import HELD_OUT_PERCENT, heldout
from fleet.lab.weekly.intervals import share_interval
from fleet.model.calibration import Calibration, CalibrationKey, Threshold, ThresholdMode
from fleet.model.target import Target
from policies.confidence.lookup import calibration_for, kind_of
from policies.confidence.scorer import probability
from policies.confidence.signals import Evidence
from policies.rules.rules import Rules

ALPHA = 0.05

FEWEST_TO_TEST = 30
"""Minimum questions to test a promise on: with fewer, only one that is broken five times over would be seen."""


@dataclass(frozen=True, slots=True)
class Promised:
    """The model whose answers are calibrated, the digest of its adapter, the rules that promise, and when.

    `spent` is the number of the last test of each promise: one of another adapter, or of the base, is of the same
    promise (see `fleet.lab.learning.looking.tests_so_far`).
    """

    target: Target
    adapter: str
    rules: Rules
    now: float
    spent: Mapping[CalibrationKey, int] = field(default_factory=dict)

    @property
    def is_made(self) -> bool:
        """True if the rules promise anything, so that answers without a promise may not be kept."""
        return self.rules.confidence.mode is ThresholdMode.GUARANTEE


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """The calibrations of the adapter and of its base, fitted on the same questions, and the questions that test them.

    Those have a promise, whatever the rules ask for; `to_store` are the adapter's as the rules have them. `refused`
    says why there is none where one was not good enough.
    """

    adapter: Calibrations
    base: Calibrations
    testing: Sequence[Pair]
    to_store: Sequence[Calibration]
    refused: str = ""


def recalibrate(pairs: Sequence[Pair], calibrating: Sequence[Pair], promised: Promised) -> Recalibrated:
    """Fit calibrations of the adapter's answers as `fleet calibrate` would.

    They are fitted on `calibrating`, and the pairs test them. Without any they are fitted on the pairs: three of ten,
    always the same ones, fit nothing and test.
    """
    rules = replace(promised.rules, confidence=replace(promised.rules.confidence, mode=ThresholdMode.GUARANTEE))
    labelled = calibrating or pairs
    adapter = _labels([(each, each.adapter) for each in labelled], promised, promised.adapter)
    base = _labels([(each, each.base) for each in labelled], promised, "")
    testing = pairs if calibrating else [each for each in pairs if heldout(each.question.digest)]
    fits, base_fits = (fit_all(labels, {}, rules, promised.now, spent=promised.spent) for labels in (adapter, base))
    refused = ", ".join(dict.fromkeys(each.reason for each in fits if not each.accepted))
    promising = _accepted(fits)
    stored = promising if promised.is_made else _accepted(fit_all(adapter, {}, promised.rules, promised.now))
    return Recalibrated(promising, _accepted(base_fits), testing, list(stored.values()), refused)


def _labels(tried: Sequence[tuple[Pair, Tried]], promised: Promised, adapter: str) -> list[LabelledAnswer]:
    """Return a label for each usable answer with log-probabilities; the reference is what a stronger model said."""
    found = []
    for pair, each in tried:
        if (answer := each.answer) is not None and answer.features is not None and each.is_usable:
            asked, name = pair.question, promised.target.name
            kind, evidence = kind_of(answer, asked.request), Evidence(answer.features)
            label = LabelledAnswer(name, asked.task, kind, asked.digest, evidence, each.is_right, strong_good=True)
            found.append(replace(label, request=asked.request, adapter=adapter))
    return found


def _accepted(fits: Sequence[FitOutcome]) -> Calibrations:
    return {each.key: each.calibration for each in fits if each.accepted and each.calibration is not None}


def promise(task: str, recalibrated: Recalibrated, promised: Promised) -> Finding:
    """Test the promise on questions of a task that calibrated nothing.

    The gate stops an adapter of which nothing could be promised for want of labels, and one whose answers show that
    the promise is broken. An answer without a calibration is not kept, as in the fleet: nothing is promised of it then,
    and nothing is broken.
    """
    testing = [each for each in recalibrated.testing if each.question.task == task]
    n, required = len(testing), promised.is_made
    if n < FEWEST_TO_TEST:
        missing = math.ceil(100 * FEWEST_TO_TEST / HELD_OUT_PERCENT) - n
        why = f"{n:,} questions are too few to test a promise on"
        return Finding(GateName.PROMISE, False, why, task, n, missing=missing, required=required)
    judged = [_judged(each, each.adapter, recalibrated.adapter, promised, promised.adapter) for each in testing]
    before = [_judged(each, each.base, recalibrated.base, promised, "") for each in testing]
    kept, kept_before = ([each is not None and each.keeps for each in side] for side in (judged, before))
    lost = np.array(
        [keeps and not each.adapter.is_right for each, keeps in zip(testing, kept, strict=True)], dtype=float
    )
    found = share_interval(lost, np.ones(n), ALPHA)
    thresholds = {id(each.calibration): each.threshold for each in judged if each is not None}.values()
    missing = 0 if any(kept) else min((each.labels_missing for each in thresholds), default=0)
    risk = max((each.risk or 0.0 for each in thresholds), default=promised.rules.confidence.risk)
    shares = f"{np.mean(kept):.0%} of answers kept, of the base's {np.mean(kept_before):.0%}"
    why = f"{shares}; at most {risk:.1%} are kept and wrong"
    passed = found.low <= risk and not missing
    if found.low > risk:
        why = f"more than {risk:.1%} are kept and wrong, though their calibration promised less"
    elif not thresholds:
        why = f"no calibration ({recalibrated.refused or 'no labels'}): each answer goes on to the next target"
    elif missing:
        why = f"nothing could be promised; {missing:,} more labels are needed"
    return Finding(
        GateName.PROMISE, passed, why, task, n, found.value, found.low, found.high, missing, required=required
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    keeps: bool
    threshold: Threshold
    calibration: Calibration


def _judged(pair: Pair, tried: Tried, calibrations: Calibrations, promised: Promised, adapter: str) -> _Judged | None:
    """Judge an answer as the fleet would; None where no calibration speaks of it."""
    answer, asked = tried.answer, pair.question
    if answer is None or answer.features is None:
        return None
    kind = kind_of(answer, asked.request)
    found = calibration_for(promised.target, asked.task, kind, calibrations, adapter)
    if found is None or found.threshold is None:
        return None
    stated = probability(found.sorter, Evidence(answer.features))
    keeps = tried.is_usable and not tried.is_refusal and stated >= found.threshold.value
    return _Judged(keeps, found.threshold, found)
