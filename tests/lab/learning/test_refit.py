"""Only a scorer that is better on labels it has not seen takes over; a calibration ties all parts together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from labelled import evidence, of_two_signals, overconfident

from fleet.lab.learning.calibrate import Goal, UnusableLabels, calibrate
from fleet.lab.learning.fit import fit
from fleet.lab.learning.labels import Label
from fleet.lab.learning.refit import RefitReason, accept, heldout
from fleet.lab.learning.sample import probabilities, sample_of
from fleet.lab.learning.thresholds import grid_of, learn_then_test
from fleet.model.calibration import Calibration, CalibrationKey, Fit, Guard, Probe, Scorer, ThresholdMode
from fleet.model.target import LatencyClass, Target
from policies.confidence.scorer import check, probability

RAW = Scorer(Fit.PRIOR, ("min_logit",), (1.0,), 0.0)
TRUE = Scorer(Fit.PLATT, ("min_logit",), (0.5,), -0.5)
KEY = CalibrationKey("small", "nudge.*")
TARGET = Target("small", "fleet", "acme/small", 0.1, 0.1, 8_000, frozenset(), LatencyClass.FAST, 8)


def labels(n: int, seed: int = 1) -> list[Label]:
    return overconfident(n, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("candidate", "current", "ruling"),
    [
        (TRUE, RAW, RefitReason.BRIER_IMPROVES),
        (TRUE, None, RefitReason.FIRST),
        (RAW, TRUE, RefitReason.BRIER_DOES_NOT_IMPROVE),
        (TRUE, TRUE, RefitReason.BRIER_DOES_NOT_IMPROVE),
        (RAW, None, RefitReason.ECE_TOO_HIGH),
        (RAW, replace(RAW, intercept=3.0), RefitReason.ECE_TOO_HIGH),
    ],
)
def test_a_candidate_must_improve_and_be_honest(candidate: Scorer, current: Scorer | None, ruling: RefitReason) -> None:
    verdict = accept(candidate, current, labels(500), np.random.default_rng(2))
    assert verdict.reason is ruling
    assert verdict.accepted is (ruling in (RefitReason.FIRST, RefitReason.BRIER_IMPROVES))
    assert (verdict.brier_before is None) is (current is None)
    assert verdict.ece is not None and verdict.ece_floor is not None


def test_without_held_out_labels_nothing_is_proven() -> None:
    verdict = accept(TRUE, None, [], np.random.default_rng(2))
    assert (verdict.accepted, verdict.reason, verdict.brier) == (False, RefitReason.NO_HELD_OUT_LABELS, None)


def test_few_held_out_labels_of_one_class_can_still_be_judged() -> None:
    verdict = accept(TRUE, None, [Label(evidence(-0.5), True)], np.random.default_rng(2))
    assert verdict.brier == pytest.approx((1.0 - probability(TRUE, evidence(-0.5))) ** 2)


def test_weights_decide_which_answers_the_brier_score_is_about() -> None:
    good, bad = Label(evidence(-0.1), True), Label(evidence(-0.1), False)
    scores = [
        accept(RAW, None, [replace(good, weight=weight), bad], np.random.default_rng(2)).brier for weight in (1.0, 9.0)
    ]
    p = math.exp(-0.1)
    assert scores == [pytest.approx(((1 - p) ** 2 + p**2) / 2), pytest.approx((9 * (1 - p) ** 2 + p**2) / 10)]


def test_three_of_ten_jobs_are_held_out_always_the_same() -> None:
    ids = [f"job-{number:016x}" for number in range(4_000)]
    drawn = [heldout(each) for each in ids]
    assert drawn == [heldout(each) for each in ids]
    assert sum(drawn) / len(drawn) == pytest.approx(0.3, abs=0.03)


def calibrated(
    found: list[Label], mode: ThresholdMode = ThresholdMode.GUARANTEE, parent: Calibration | None = None, **goal: float
) -> Calibration:
    result = calibrate(KEY, TARGET, found, "large", Goal(mode, **goal), parent, 5.0, "v1", np.random.default_rng(3))
    assert isinstance(result, Calibration)
    return result


def test_a_calibration_says_what_it_is_of_and_how_good_it_is() -> None:
    found = calibrated(labels(300))
    assert (found.key, found.model, found.revision, found.logprobs_mode) == (
        KEY, "acme/small", "main", "raw_logprobs"
    )  # fmt: skip
    assert (found.version, found.fitted_at, found.labels, found.strong, found.guard) == ("v1", 5.0, 300, "large", None)
    check(found.scorer)
    assert found.threshold is not None and 0.5 < found.threshold.value < 1.0
    assert found.edges == tuple(sorted(found.edges)) and len(found.edges) == 9
    assert found.brier is not None and 0.1 < found.brier < 0.25
    assert found.ece is not None and found.ece < 0.15


def test_every_tenth_of_the_answers_lies_between_two_edges() -> None:
    answers = labels(200)
    found = calibrated(answers)
    confidences = [probability(found.scorer, label.evidence) for label in answers]
    below = [sum(c < edge for c in confidences) for edge in found.edges]
    assert below == pytest.approx([20 * place for place in range(1, 10)], abs=1)


@pytest.mark.parametrize("n", [150, 500])
def test_the_whole_calibration_keeps_its_promise_on_new_traffic(n: int) -> None:
    """Fitted and tested on the same labels, so scorer and threshold change from draw to draw."""
    rng = np.random.default_rng(4)
    traffic = overconfident(4_000, rng)
    columns = sample_of(traffic, ("min_logit",)).columns
    lost = np.array([not label.good and bool(label.strong_good) for label in traffic])
    broken = 0
    for _ in range(60):
        found = calibrated([traffic[row] for row in rng.integers(len(traffic), size=n)])
        assert found.threshold is not None
        kept = probabilities(found.scorer, columns) >= found.threshold.value
        broken += float((lost & kept).mean()) > 0.05
    assert broken <= 6


def test_a_mix_of_signals_is_ordered_by_one_half_and_tested_on_the_other() -> None:
    answers = of_two_signals(600, np.random.default_rng(5))
    found = calibrated(answers)
    assert found.scorer == fit(answers[::2]) != fit(answers)
    confidences, lost = zip(
        *((probability(found.scorer, label.evidence), not label.good and label.strong_good) for label in answers[1::2]),
        strict=True,
    )
    either_may_fail = learn_then_test(confidences, lost, grid_of(confidences), 0.05, 0.10 / 2)
    assert found.threshold == replace(either_may_fail, delta=0.10)


def test_an_unknown_strong_answer_counts_as_right() -> None:
    known = calibrated(labels(400)).threshold
    unknown = calibrated([replace(label, strong_good=None) for label in labels(400)]).threshold
    always = calibrated([replace(label, strong_good=True) for label in labels(400)]).threshold
    assert known is not None and unknown == always
    assert unknown is not None and unknown.value >= known.value


def test_a_budget_escalates_its_share_and_the_mode_fixed_has_no_threshold() -> None:
    found = calibrated(labels(300), ThresholdMode.BUDGET, escalation_rate=0.2)
    assert found.threshold is not None
    confidences = [probability(found.scorer, label.evidence) for label in labels(300)]
    assert sum(c < found.threshold.value for c in confidences) == 60
    assert calibrated(labels(300), ThresholdMode.FIXED).threshold is None


def test_a_confidence_that_sorts_nothing_is_guarded() -> None:
    shuffled = np.random.default_rng(6).permutation(300)
    plain = labels(300)
    mixed = [replace(plain[row], evidence=label.evidence) for row, label in zip(shuffled, plain, strict=True)]
    assert calibrated(mixed, ThresholdMode.FIXED).guard is Guard.NO_BETTER_THAN_MIXING


def test_a_parent_of_the_same_model_helps_and_one_of_another_is_not_used() -> None:
    parent = calibrated(labels(900, seed=7))
    few = labels(12, seed=8)
    alone = calibrated(few)
    assert calibrated(few, parent=parent).scorer != alone.scorer
    for strange in (
        replace(parent, model="acme/other"),
        replace(parent, revision="int4"),
        replace(parent, logprobs_mode="processed_logprobs"),
    ):
        assert calibrated(few, parent=strange).scorer == alone.scorer


UNEVEN = [replace(label, weight=20.0 if number % 3 else 1.0) for number, label in enumerate(labels(100))]


@pytest.mark.parametrize(
    ("found", "goal", "field"),
    [
        ([], {}, "labels"),
        ([Label(evidence(-0.1), True)] * 50, {}, "labels"),
        ([*labels(60), Label(evidence(math.nan), True)], {}, "labels[60].evidence"),
        (labels(60), {"risk": 0.0}, "risk"),
        (UNEVEN, {}, "labels.weight"),
    ],
)
def test_labels_that_make_no_calibration_are_refused_with_the_rule(
    found: list[Label], goal: dict[str, float], field: str
) -> None:
    wanted = Goal(ThresholdMode.GUARANTEE, **goal)
    refused = calibrate(KEY, TARGET, found, "large", wanted, None, 5.0, "v1", np.random.default_rng(3))
    assert isinstance(refused, UnusableLabels)
    assert refused.field == field
    assert refused.rule


def test_one_bad_answer_among_many_good_ones_is_enough_to_be_calibrated() -> None:
    plain = [replace(label, good=number > 0) for number, label in enumerate(labels(120))]
    assert calibrated(plain).scorer.fit is Fit.PLATT


def test_answers_that_share_the_threshold_as_their_confidence_are_kept() -> None:
    """Most answers are as sure as can be; a threshold a rounding error above them would escalate them all."""
    rng = np.random.default_rng(9)
    for _ in range(20):
        sure, unsure = (evidence(-float(rng.uniform(*limits))) for limits in ((0.01, 0.1), (1.0, 3.0)))
        answers = [Label(sure, True, True)] * 150 + [Label(unsure, number % 3 == 0, True) for number in range(60)]
        threshold = calibrated(answers).threshold
        assert threshold is not None
        assert threshold.value == probability(calibrated(answers).scorer, sure)


@pytest.mark.parametrize(
    ("n", "change", "probe", "signal"),
    [
        (400, lambda p: {"p_true": p}, Probe.P_TRUE, "p_true_logit"),
        (400, lambda p: {"agreement": float(p > 0.5)}, Probe.SAMPLE, "agreement"),
        (60, lambda p: {"p_true": p}, None, None),
    ],
)
def test_what_a_second_look_is_worth_is_learned_apart_from_the_first(
    n: int, change: Callable[[float], dict[str, float]], probe: Probe | None, signal: str | None
) -> None:
    rng = np.random.default_rng(7)
    found = overconfident(n, rng)
    said = [0.9 if rng.random() < (0.9 if label.good else 0.2) else 0.1 for label in found]
    asked = [
        replace(label, evidence=replace(label.evidence, **change(p))) for label, p in zip(found, said, strict=True)
    ]

    plain, looked_at = calibrated(found), calibrated(asked)

    assert looked_at.scorer == plain.scorer, "most answers are never asked about: their scorer must not need it"
    assert looked_at.probe is probe
    assert (looked_at.probe_scorer is None) == (probe is None)
    if looked_at.probe_scorer is not None:
        assert signal in looked_at.probe_scorer.signals
