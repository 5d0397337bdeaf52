"""The decision whether an answer is good enough to be delivered."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from fleet.model.attempt import Answer, Attempt, Judged
from fleet.model.calibration import Guard, Probe
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.unguarded import unguarded
from policies.routing import tiers as routing
from policies.rules.rules import Rules


@unguarded
@dataclass(frozen=True, slots=True)
class AcceptanceDecision:
    """The verdict on the latest `answer`: `accepted` says why it is final (None: it is not), `doubt` then why not.

    With a `probe` a second look should be taken before acting on either.
    """

    answer: Attempt
    accepted: Reason | None
    doubt: Reason
    probe: Probe | None = None


def verdict_on(job: Job, attempts: tuple[Attempt, ...], rules: Rules) -> AcceptanceDecision:
    """Return the verdict on the last answer, with what second looks at it have shown."""
    latest = attempts[-1]
    if latest.probe is None:
        answer, confidence, judged = latest, latest.confidence, latest.judged
    else:
        answer, (confidence, judged) = _answer_in(attempts), _after_looks(attempts)
    if confidence is None:
        return AcceptanceDecision(answer, Reason.NOT_CHECKED, Reason.LOW_CONFIDENCE)
    if judged is None:
        fixed = rules.plans[job.plan].thresholds.of_tier(routing.tier_of(job, rules))
        return AcceptanceDecision(answer, Reason.CONFIDENT if confidence >= fixed else None, Reason.LOW_CONFIDENCE)
    return AcceptanceDecision(answer, _accepted(confidence, judged), _doubt(judged), judged.probe)


def _answer_in(attempts: tuple[Attempt, ...]) -> Attempt:
    return next(a for a in reversed(attempts) if a.probe is None and isinstance(a.outcome, Answer))


def _after_looks(attempts: tuple[Attempt, ...]) -> tuple[float | None, Judged | None]:
    """Return the last judgement; a look that failed leaves the one before it, and no wish for another."""
    latest = attempts[-1]
    if latest.confidence is not None and latest.judged is not None:
        return latest.confidence, latest.judged
    before = next(a for a in reversed(attempts) if a.confidence is not None)
    return before.confidence, None if before.judged is None else replace(before.judged, probe=None)


def _accepted(confidence: float, judged: Judged) -> Reason | None:
    if confidence >= judged.threshold:
        if judged.unfamiliar:
            return Reason.UNFAMILIAR
        return Reason.CONFIDENT if judged.guard is None else Reason.CASCADE_OFF
    # Confidence 0 marks an unusable answer, which no guard makes usable.
    pointless = judged.guard is Guard.STRONG_DOES_NOT_GAIN and confidence > 0.0
    return Reason.CASCADE_OFF if pointless else None


def _doubt(judged: Judged) -> Reason:
    if judged.unfamiliar:
        return Reason.UNFAMILIAR
    if judged.calibration is None and math.isinf(judged.threshold):
        return Reason.NOT_CALIBRATED
    if judged.guard is not None:
        return Reason.CASCADE_OFF
    return Reason.GUARANTEE_WITHDRAWN if judged.withdrawn else Reason.LOW_CONFIDENCE
