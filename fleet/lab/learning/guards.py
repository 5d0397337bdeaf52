"""Guards against cascades that do more harm than good."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fleet.lab.metrics.curve import apgr, cascade
from fleet.lab.metrics.metrics import auroc, bootstrap_ci
from fleet.model.calibration import Guard

MIXING = 0.5
"""The APGR of escalating at random, and the AUROC of a confidence that sorts nothing."""
WORTHWHILE_APGR = 0.6
WORTHWHILE_AUROC = 0.65
WORTHWHILE_GAIN = 0.1
"""The values that a worthwhile cascade surely reaches. Those measured on question answering had an APGR of 0.65 to
0.82, an AUROC of 0.66 to 0.87, and a gain on what they escalate of 0.15 to 0.35.
"""
_RESAMPLES = 500
_ONE_SIDED_95 = 1.645


def guard(
    confidences: npt.ArrayLike,
    weak_good: npt.ArrayLike,
    strong_good: npt.ArrayLike,
    threshold: float,
    rng: np.random.Generator,
) -> Guard | None:
    """Return why the cascade at this threshold should be off; None while it looks useful, or the labels cannot tell.

    STRONG_DOES_NOT_GAIN: among the answers with less confidence than `threshold`, the strong target is right no more
    often than the weak one.

    NO_BETTER_THAN_MIXING: the lower bound (95 %) of the APGR is below random mixing. With few labels that is so for
    good cascades too, whose bounds are wide; to be switched off, either the upper bound must rule out a worthwhile
    APGR, or the confidence must not sort right answers from wrong ones: its AUROC, which takes far fewer labels,
    must have a lower bound below chance and an upper bound below a worthwhile one. APGR is undecided, and so no
    reason to switch off, where the gap between the targets is below two points in more than one of twenty resamples.
    """
    scores = np.asarray(confidences, dtype=np.float64)
    weak, strong = np.asarray(weak_good, dtype=np.float64), np.asarray(strong_good, dtype=np.float64)
    escalated = scores < threshold
    if _does_not_gain((strong - weak)[escalated]):
        return Guard.STRONG_DOES_NOT_GAIN
    recovered = bootstrap_ci(lambda *rows: apgr(cascade(*rows)), (scores, weak, strong), rng, _RESAMPLES)
    if recovered is None or recovered[0] >= MIXING:
        return None
    sorting = bootstrap_ci(auroc, (scores, weak), rng, _RESAMPLES)
    sorts_nothing = sorting is not None and sorting[0] < MIXING and sorting[1] < WORTHWHILE_AUROC
    return Guard.NO_BETTER_THAN_MIXING if sorts_nothing or recovered[1] < WORTHWHILE_APGR else None


def _does_not_gain(gains: npt.NDArray[np.float64]) -> bool:
    """Return whether the mean gain is not positive, and its upper bound (95 %, normal) excludes a worthwhile one.

    The bound counts one gain and one loss that nobody saw, so that a few answers which agree prove nothing.
    """
    n = len(gains) + 2
    mean = float(gains.sum()) / n
    variance = (float(gains @ gains) + 2.0) / n - mean**2
    return mean <= 0.0 and mean + _ONE_SIDED_95 * math.sqrt(variance / n) < WORTHWHILE_GAIN
