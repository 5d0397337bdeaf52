"""The choice of the test of its promise that a key may make of these labels, and the record of it."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fleet.lab.learning import looks
from fleet.lab.learning.calibrate import Goal
from fleet.lab.learning.collected import LabelledAnswer
from fleet.lab.learning.labels import weighted
from fleet.lab.learning.refit import heldout
from fleet.lab.learning.thresholds import labels_missing
from fleet.model.calibration import NO_LOOKS, Calibration, CalibrationKey, Looks, Threshold, ThresholdMode
from fleet.model.target import Target
from policies.confidence.lookup import is_of


@dataclass(frozen=True, slots=True)
class PlannedTest:
    """A test that may be made: its goal, and the `looks` of the key once it is made.

    `too_soon` says why it had better wait; nothing is spent then. `unless_passed` are the looks after a test that so
    few labels can hardly pass, which is counted only if they do.
    """

    goal: Goal
    looks: Looks = NO_LOOKS
    too_soon: str | None = None
    unless_passed: Looks | None = None

    def looks_after(self, threshold: Threshold | None) -> Looks:
        """Return the looks of the key after a test that found this threshold."""
        passed = threshold is not None and threshold.value < math.inf
        return self.looks if passed or self.unless_passed is None else self.unless_passed


def look_at(
    labels: Sequence[LabelledAnswer], before: Calibration | None, target: Target, goal: Goal, now: float, spent: int = 0
) -> PlannedTest:
    """Return the next test of a promise; nothing is spent in the other modes, which promise nothing.

    `spent` is the number of the last test of this promise with any adapter: see `tests_so_far`.

    The same labels again are the same test again, which spends nothing, however often it is made; nor does a test
    that so few labels cannot pass. A test that left nothing in force, and so kept no answer, is not counted.
    """
    looked = NO_LOOKS if before is None else before.looks
    if goal.mode is not ThresholdMode.GUARANTEE:
        return PlannedTest(goal, looked)
    digest = digest_of(labels)
    if looked.count and digest == looked.digest:
        return PlannedTest(replace(goal, look=looked.count), looked, _unchanged(before, target, goal))
    fresh = _fresh(labels, looked)
    if not looks.is_due(looked, fresh, len(labels)) and _holds(before, target, goal):
        wanted = math.ceil(looks.GROWTH * len(labels))
        return PlannedTest(goal, looked, f"too few new labels for another test of the promise: {fresh:,} of {wanted:,}")
    number = max(looked.count, spent) + 1
    next_one = replace(goal, look=number)
    testing = [label.weight for label, each in zip(weighted(labels), labels, strict=True) if not heldout(each.job)]
    hardly = labels_missing(testing, next_one.risk, next_one.spent) > 0
    made = Looks(number, len(labels), now, digest)
    return PlannedTest(next_one, made, unless_passed=looked if hardly else None)


def tests_so_far(calibrations: Iterable[Calibration]) -> Counter[CalibrationKey]:
    """Return for each key, without its adapter, the number of the last test of its promise.

    An adapter is another model with a key of its own, but it answers the same jobs: their promise is one, so its tests
    are numbered through whichever adapter they are of, and a swap of adapters does not give back what was spent.
    """
    found: Counter[CalibrationKey] = Counter()
    for each in calibrations:
        key = each.key.without_adapter
        found[key] = max(found[key], each.looks.count)
    return found


def digest_of(labels: Sequence[LabelledAnswer]) -> str:
    """Return a digest of the labels and what they say, in whatever order."""
    said = sorted(f"{each.job} {each.good} {each.strong_good}" for each in labels)
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]


def _unchanged(before: Calibration | None, target: Target, goal: Goal) -> str | None:
    return "no new labels since the last test of the promise" if _holds(before, target, goal) else None


def _holds(before: Calibration | None, target: Target, goal: Goal) -> bool:
    """Return whether the one in force was tested for this promise and may stay, even if it escalates every answer."""
    if before is None or before.threshold is None or not is_of(before, target) or before.withdrawn is not None:
        return False
    threshold = before.threshold
    return threshold.mode is goal.mode and (threshold.risk, threshold.delta) == (goal.risk, goal.delta)


def _fresh(labels: Sequence[LabelledAnswer], looked: Looks) -> int:
    """Count the labels that are new since the last test, or by how many they grew where a time is missing."""
    if all(label.at is not None for label in labels):
        return sum(label.at is not None and label.at > looked.at for label in labels)
    return max(0, len(labels) - looked.labels)
