"""The judgement of an answer: how likely it is good, and how likely that must be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fleet.model.attempt import Answer, Attempt, Features, Judged
from fleet.model.calibration import Calibration, CalibrationKey, Guard, OutputKind, Probe, ThresholdMode
from fleet.model.job import Job
from fleet.model.target import Target
from policies.confidence import probes
from policies.confidence.familiarity import is_familiar
from policies.confidence.gates import first_failed
from policies.confidence.lookup import calibration_for, kind_of
from policies.confidence.scorer import probability
from policies.confidence.signals import Evidence
from policies.routing.tiers import tier_of
from policies.rules.rules import Rules
from policies.rules.sections import ConfidenceMethod, Unfamiliar

Calibrations = Mapping[CalibrationKey, Calibration]
Judgement = tuple[float | None, Judged]
"""A confidence in [0, 1], None where there is no way to tell, and the requirements it is held against."""


def judge(
    answer: Answer, job: Job, target: Target, calibrations: Calibrations, rules: Rules, adapter: str | None = None
) -> Judgement:
    """Return confidence 0 if the answer fails a gate; else the calibrated probability that it is good.

    Without a calibration of this model, or one fitted on such requests, the confidence is the raw score of
    `rules.confidence.method`, which ranks answers and is no probability; without log-probabilities the prior of the
    target, if the rules name one; 0 where the engine's log-probabilities are no numbers. A target that is the same as
    another is judged as that one, and an answer given with an adapter by calibrations of that adapter alone.
    """
    kind, target = kind_of(answer, job.request), rules.catalogue.original(target)
    calibration = calibration_for(target, job.task, kind, calibrations, adapter)
    if calibration is not None and not is_familiar(calibration, job):
        return _unfamiliar(answer, job, kind, target, rules)
    judged = _held_against(job, kind, calibration, target, rules)
    if first_failed(answer, job.request, rules.confidence.gates) is not None:
        return 0.0, judged
    confidence = _confidence(answer.features, target, calibration, rules)
    judged = _by_value(confidence, judged, answer.features, calibration, rules)
    return confidence, _with_probe(confidence, judged, job, calibration, rules)


def _unfamiliar(answer: Answer, job: Job, kind: OutputKind, target: Target, rules: Rules) -> Judgement:
    """Judge by the raw score, as without a calibration: its probability would be claimed for unlike requests."""
    mode = rules.confidence.mode
    stays = rules.confidence.unfamiliar is Unfamiliar.RAW_SCORE and mode is not ThresholdMode.GUARANTEE
    judged = Judged(_unfitted(mode, job, rules) if stays else math.inf, kind, unfamiliar=True)
    if first_failed(answer, job.request, rules.confidence.gates) is not None:
        return 0.0, judged
    return _confidence(answer.features, target, None, rules), judged


def judge_again(
    probe: Probe,
    attempts: Sequence[Attempt],
    reply: Answer,
    job: Job,
    calibrations: Calibrations,
    rules: Rules,
) -> Judgement | None:
    """Judge the answer before this probe again, with what the `reply` shows; None where it shows nothing.

    `attempts` end with that answer or with earlier probes of it.
    """
    asked = probes.last_answer(attempts)
    evidence = probes.evidence(probe, attempts, reply)
    if asked is None or asked.judged is None or asked.confidence is None or evidence is None:
        return None
    target = rules.catalogue.original(rules.catalogue.targets[asked.target])
    calibration = calibration_for(target, job.task, asked.judged.kind, calibrations, asked.adapter)
    confidence = _with_evidence(asked.confidence, evidence, probe, calibration)
    return confidence, replace(asked.judged, probe=probes.next_probe(probe, attempts, evidence))


def _confidence(
    features: Features | None, target: Target, calibration: Calibration | None, rules: Rules
) -> float | None:
    if features is None:
        return rules.confidence.priors.get(target.name)
    if not _is_finite(features):
        return 0.0
    if calibration is not None:
        return _calibrated(calibration, features, rules)
    return _raw_score(features, rules.confidence.method)


def _calibrated(calibration: Calibration, features: Features, rules: Rules) -> float:
    """Return the scorer's probability; if it does not sort answers, the share of good ones is better for each."""
    if calibration.good is not None and _guard_in(calibration, rules) is Guard.NO_BETTER_THAN_MIXING:
        return calibration.good
    return probability(calibration.scorer, Evidence(features))


def _guard_in(calibration: Calibration, rules: Rules) -> Guard | None:
    """Return the guard in force: none in mode guarantee, whose promise is kept by its threshold."""
    return None if rules.confidence.mode is ThresholdMode.GUARANTEE else calibration.guard


def _is_finite(features: Features) -> bool:
    """Return whether all features are numbers; a sum that includes one that is not is cheaper than looking at each."""
    f = features
    return math.isfinite(f.sum + f.min + f.mean + f.q10 + f.q25 + f.margin + f.entropy)


def _raw_score(features: Features, method: ConfidenceMethod) -> float:
    """Return a probability from log-probabilities: of the worst token, the average one, or all of them together."""
    match method:
        case ConfidenceMethod.MIN_PROBABILITY:
            logprob = features.min
        case ConfidenceMethod.MEAN_PROBABILITY:
            logprob = features.mean
        case ConfidenceMethod.SEQUENCE_PROBABILITY:
            logprob = features.sum
    # An engine may report a hair above 0 for a certain token.
    return math.exp(min(logprob, 0.0))


def _held_against(job: Job, kind: OutputKind, calibration: Calibration | None, target: Target, rules: Rules) -> Judged:
    mode, own = rules.confidence.mode, _keep_from(job, target, rules)
    if calibration is None:
        return Judged(_unfitted(mode, job, rules) if own is None else own, kind)
    fitted = calibration.threshold
    if own is not None:
        threshold = own
    elif mode is ThresholdMode.FIXED or fitted is None or fitted.mode is not mode:
        threshold = _unfitted(mode, job, rules)
    else:
        threshold = fitted.value
    withdrawn = False
    if calibration.withdrawn is not None and fitted is not None and fitted.mode is mode:
        withdrawn, threshold = True, max(threshold, fitted.safer)
    return Judged(threshold, kind, calibration.version, _guard_in(calibration, rules), withdrawn)


def _by_value(
    confidence: float | None, judged: Judged, features: Features | None, calibration: Calibration | None, rules: Rules
) -> Judged:
    """Hold this answer against a threshold of its own, where a promise sorts answers by the value of a stronger one.

    What the answer has more or less than the calibration's threshold asks for, its confidence has more or less than
    this one. So the confidence stays the chance that the answer is good, and whoever compares the two decides alike.
    """
    scorer = None if calibration is None else calibration.value_scorer
    in_mode = rules.confidence.mode is ThresholdMode.GUARANTEE
    if not in_mode or scorer is None or confidence is None or features is None or not _is_finite(features):
        return judged
    if math.isinf(judged.threshold):
        return judged
    missing = judged.threshold - probability(scorer, Evidence(features))
    return replace(judged, threshold=_raised(confidence, missing))


def _raised(confidence: float, missing: float) -> float:
    """Return a threshold that the confidence is so far from: in [0, 1], or a hair above a confidence of 1."""
    if missing <= 0.0:
        return max(confidence + missing, 0.0)
    return max(min(confidence + missing, 1.0), math.nextafter(confidence, math.inf))


def _keep_from(job: Job, target: Target, rules: Rules) -> float | None:
    """Return the confidence that the rules of the task want of this target's answers; None where they name none."""
    task = rules.tasks.get(job.task)
    return None if task is None or not task.keep_from else task.keep_from.get(target.name)


def _unfitted(mode: ThresholdMode, job: Job, rules: Rules) -> float:
    """Return the threshold without labels: a promise can keep nothing; the other modes have a fixed number."""
    if mode is ThresholdMode.GUARANTEE:
        return math.inf
    return rules.plans[job.plan].thresholds.of_tier(tier_of(job, rules))


def _with_probe(
    confidence: float | None, judged: Judged, job: Job, calibration: Calibration | None, rules: Rules
) -> Judged:
    """Add the task's second look, if the rules name one and the score is too close to the threshold to call."""
    probe = rules.confidence.probes.get(job.task)
    if probe is None or confidence is None or judged.guard is not None:
        return judged
    grey = calibration.grey if calibration is not None and calibration.grey is not None else None
    low, high = grey or (judged.threshold - rules.confidence.grey_width, judged.threshold + rules.confidence.grey_width)
    if not low <= confidence < high:
        return judged
    return replace(judged, probe=probe)


def _with_evidence(confidence: float, evidence: Evidence, probe: Probe, calibration: Calibration | None) -> float:
    if calibration is not None and calibration.probe is probe and calibration.probe_scorer is not None:
        return probability(calibration.probe_scorer, evidence)
    return probes.combined(confidence, evidence)
