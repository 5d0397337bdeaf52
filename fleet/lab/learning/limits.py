"""What no threshold could do: the least a promise must escalate, by any judge and by this score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleet.lab.learning.labels import Label
from fleet.lab.learning.thresholds import losses_of
from fleet.model.calibration import Calibration
from policies.confidence.scorer import probability


@dataclass(frozen=True, slots=True)
class EscalationLimits:
    """Shares of traffic that escalate, at the risk promised: each is at most the next, but for what the labels vary.

    `any_judge` is the least for anybody who told good answers from bad without a mistake: one escalation takes back at
    most one loss, so it is the loss of keeping everything, less the risk. `this_score` is the least for a threshold on
    this score, if these labels were all there is to know. `promised` is what the tested threshold escalates: what it
    escalates more is the price of not knowing better. `least_risk` is the smallest risk that so many labels could prove
    of any threshold that keeps answers, if not one of them were a loss.
    """

    any_judge: float
    this_score: float
    promised: float
    least_risk: float


def limits_of(calibration: Calibration, labels: Sequence[Label]) -> EscalationLimits | None:
    """Return the limits by these labels, weighted; None where nothing is promised, or no label is there."""
    threshold = calibration.threshold
    if not labels or threshold is None or threshold.risk is None or threshold.delta is None:
        return None
    stated = np.array([probability(calibration.sorter, label.evidence) for label in labels])
    weights = np.array([label.weight for label in labels])
    lost = losses_of([label.good for label in labels], [label.strong_good is not False for label in labels])
    share = weights / weights.sum()
    steps, step_of = np.unique(stated, return_inverse=True)
    kept_loss = np.cumsum(np.bincount(step_of, share * lost)[::-1])[::-1]
    allowed = steps[kept_loss <= threshold.risk]
    least = allowed[0] if len(allowed) else np.inf
    return EscalationLimits(
        any_judge=max(0.0, float(share @ lost) - threshold.risk),
        this_score=float(share[stated < least].sum()),
        promised=float(share[stated < threshold.value].sum()),
        # The risk r at which (1 - r)^n, the chance that n answers of such a risk show no loss, is delta.
        least_risk=1.0 - threshold.delta ** (1.0 / len(labels)),
    )
