"""How an answer is judged: calibrations, thresholds in three modes, guards, withdrawn promises, priors."""

import math
from dataclasses import replace

import pytest

from fleet.model.action import Finish, Run
from fleet.model.attempt import Answer, Judged, Usage
from fleet.model.calibration import (
    ANY,
    Calibration,
    CalibrationKey,
    Fit,
    Guard,
    OutputKind,
    Probe,
    Scorer,
    Threshold,
    ThresholdMode,
)
from fleet.model.errors import ConfigError
from fleet.model.reason import Reason
from policies.confidence.judge import judge, judge_again
from policies.confidence.lookup import calibration_for, kind_of
from policies.plan import next_action

SMALL = "llama-8b"
ADAPTER = "ab" * 32
PROMISED = Threshold(ThresholdMode.GUARANTEE, 0.5, 0.9, 0.05, 0.1)


@pytest.fixture
def target(rules):
    return rules.catalogue.targets[SMALL]


@pytest.fixture
def calibration(target):
    def build(family="nudge.recognition", kind=OutputKind.SHORT, intercept=0.0, **changes):
        plain = {
            "key": CalibrationKey(SMALL, family, kind),
            "model": target.model,
            "revision": target.revision,
            "logprobs_mode": target.logprobs_mode,
            "version": f"v-{family}-{kind}",
            "fitted_at": 1.0,
            "labels": 300,
            "scorer": Scorer(Fit.PLATT, ("min_logit",), (0.0,), intercept),
        }
        return Calibration(**{**plain, **changes})

    return build


@pytest.fixture
def said(features):
    def build(text="Thank you, Ada.", tokens=8, **changes):
        return Answer({"content": text}, "stop", Usage(10, tokens), "m", replace(features, **changes))

    return build


def known(*calibrations):
    return {each.key: each for each in calibrations}


def in_mode(rules, mode, **changes):
    return replace(rules, confidence=replace(rules.confidence, mode=mode, **changes))


def decided(answer, job, target, calibrations, rules, attempt, view):
    """What is done after this answer, judged as the dispatcher does."""
    confidence, judged = judge(answer, job, target, calibrations, rules)
    return next_action(job, (replace(attempt, confidence=confidence, judged=judged),), view, 1_002.0, rules)


# --- which calibration


@pytest.mark.parametrize(
    ("families", "chosen"),
    [
        ([("nudge.recognition", "short"), ("nudge.*", "short"), (ANY, "short"), (ANY, ANY)], "nudge.recognition"),
        ([("nudge.recognition", "json"), ("nudge.*", "short"), (ANY, "short"), (ANY, ANY)], "nudge.*"),
        ([("classify.intent", "short"), (ANY, "short"), (ANY, ANY)], ANY),
        ([("classify.intent", "short")], None),
    ],
)
def test_the_most_particular_calibration_speaks(target, calibration, families, chosen):
    there = known(*(calibration(family, kind) for family, kind in families))
    found = calibration_for(target, "nudge.recognition", OutputKind.SHORT, there)
    assert (None if found is None else found.key.family) == chosen


@pytest.mark.parametrize(
    "change", [{"model": "another"}, {"revision": "awq-4bit"}, {"logprobs_mode": "processed_logprobs"}]
)
def test_a_calibration_of_another_model_weights_or_log_probabilities_says_nothing(target, calibration, change):
    there = known(calibration(**change))
    assert calibration_for(target, "nudge.recognition", OutputKind.SHORT, there) is None


@pytest.mark.parametrize(("fitted_on", "answered_with"), [("", ADAPTER), (ADAPTER, None), (ADAPTER, "0" * 64)])
def test_a_calibration_of_another_adapter_or_of_the_base_says_nothing(target, calibration, fitted_on, answered_with):
    fitted = calibration()
    there = known(replace(fitted, key=replace(fitted.key, adapter=fitted_on)))
    assert calibration_for(target, "nudge.recognition", OutputKind.SHORT, there, fitted_on or None) is not None
    assert calibration_for(target, "nudge.recognition", OutputKind.SHORT, there, answered_with) is None


def test_an_adapters_answer_escalates_under_a_promise_that_only_the_base_has(job, target, calibration, said, rules):
    there, promised = known(calibration(threshold=PROMISED)), in_mode(rules, ThresholdMode.GUARANTEE)
    _, of_base = judge(said(), job(), target, there, promised)
    _, of_adapter = judge(said(), job(), target, there, promised, ADAPTER)
    assert (of_base.threshold, of_base.calibration) == (0.5, "v-nudge.recognition-short")
    assert (of_adapter.threshold, of_adapter.calibration) == (math.inf, None)


def test_a_second_look_is_judged_by_the_calibration_of_the_adapter_that_answered(
    job, target, calibration, said, rules, answered
):
    own = calibration(probe=Probe.P_TRUE, probe_scorer=Scorer(Fit.PLATT, ("p_true_logit",), (0.0,), math.log(4.0)))
    there = known(replace(own, key=replace(own.key, adapter=ADAPTER)))
    asked = replace(answered(1, SMALL, 0.5), judged=Judged(0.6, OutputKind.SHORT), adapter=ADAPTER)
    yes = said("yes", tokens=1)
    seen = judge_again(Probe.P_TRUE, [asked], yes, job(), there, rules)
    unlike = judge_again(Probe.P_TRUE, [replace(asked, adapter=None)], yes, job(), there, rules)
    assert seen is not None and seen[0] == pytest.approx(0.8)
    assert unlike is not None and unlike[0] != pytest.approx(0.8)


@pytest.mark.parametrize(("tokens", "kind"), [(1, "token"), (3, "token"), (4, "short"), (32, "short"), (33, "long")])
def test_the_kind_of_a_text_is_its_length_in_tokens(said, tokens, kind):
    assert kind_of(said(tokens=tokens), {}) == kind


def test_json_and_tool_calls_are_kinds_of_their_own(said):
    assert kind_of(said("{}"), {"response_format": {"type": "json_object"}}) is OutputKind.JSON
    called = Answer({"tool_calls": [{"function": {"name": "f"}}]}, "tool_calls", Usage(1, 9), "m")
    assert kind_of(called, {}) is OutputKind.TOOL_CALL


# --- confidence


def test_a_calibrated_answer_has_the_probability_of_its_scorer_and_names_the_version(
    job, target, calibration, said, rules
):
    there = known(calibration(intercept=math.log(4.0)))
    confidence, judged = judge(said(), job(), target, there, rules)
    assert confidence == pytest.approx(0.8)
    assert judged.calibration == "v-nudge.recognition-short"


def test_without_log_probabilities_a_target_has_its_prior_or_nothing(job, rules):
    answer = Answer({"content": "Yes."}, "stop", Usage(10, 2), "m")
    claude, gpt = rules.catalogue.targets["claude-sonnet"], rules.catalogue.targets["gpt-4o"]
    assert judge(answer, job(), claude, {}, rules)[0] == rules.confidence.priors["claude-sonnet"]
    assert judge(answer, job(), gpt, {}, rules)[0] is None


def test_a_gate_beats_every_calibration(job, target, calibration, said, rules):
    assert judge(said(""), job(), target, known(calibration(intercept=9.0)), rules)[0] == 0.0


# --- thresholds


def fitted(mode, value, safer=math.inf):
    return Threshold(mode, value, safer, risk=0.05, delta=0.1)


@pytest.mark.parametrize(
    ("mode", "threshold", "wanted"),
    [
        (ThresholdMode.FIXED, fitted(ThresholdMode.GUARANTEE, 0.9), 0.75),
        (ThresholdMode.GUARANTEE, fitted(ThresholdMode.GUARANTEE, 0.9), 0.9),
        (ThresholdMode.GUARANTEE, fitted(ThresholdMode.BUDGET, 0.2), math.inf),
        (ThresholdMode.GUARANTEE, None, math.inf),
        (ThresholdMode.BUDGET, fitted(ThresholdMode.BUDGET, 0.2), 0.2),
        (ThresholdMode.BUDGET, None, 0.75),
    ],
)
def test_a_threshold_is_the_rules_or_one_fitted_for_the_mode_in_force(
    job, target, calibration, said, rules, mode, threshold, wanted
):
    there = known(calibration(threshold=threshold))
    assert judge(said(), job(), target, there, in_mode(rules, mode))[1].threshold == wanted


def test_a_promise_without_any_calibration_escalates_all_and_says_so(job, view, target, said, rules, answered):
    strict = in_mode(rules, ThresholdMode.GUARANTEE)
    action = decided(said(min=-1e-9), job(), target, {}, strict, answered(1, SMALL, None), view())
    assert action == Run("mixtral-8x7b", Reason.NOT_CALIBRATED)


def test_a_withdrawn_promise_falls_back_to_the_safer_threshold_and_says_so(
    job, view, target, calibration, said, rules, answered
):
    strict = in_mode(rules, ThresholdMode.GUARANTEE)
    promised = calibration(intercept=math.log(4.0), threshold=fitted(ThresholdMode.GUARANTEE, 0.7, safer=0.95))
    kept = decided(said(), job(), target, known(promised), strict, answered(1, SMALL, None), view())
    withdrawn = replace(promised, withdrawn="psi 0.41 after 320 answers")
    escalated = decided(said(), job(), target, known(withdrawn), strict, answered(1, SMALL, None), view())
    assert isinstance(kept, Finish) and kept.reason is Reason.CONFIDENT
    assert escalated == Run("mixtral-8x7b", Reason.GUARANTEE_WITHDRAWN)


def test_where_no_promise_is_in_force_none_is_taken_back(job, target, calibration, said, rules):
    promised = calibration(threshold=fitted(ThresholdMode.GUARANTEE, 0.7, safer=math.inf), withdrawn="psi 0.41")
    judged = judge(said(), job(), target, known(promised), in_mode(rules, ThresholdMode.FIXED))[1]
    assert (judged.threshold, judged.withdrawn) == (0.75, False)


def test_where_the_stronger_target_gains_nothing_every_answer_of_use_is_kept(
    job, view, target, calibration, said, rules, answered
):
    off = known(calibration(intercept=-3.0, guard=Guard.STRONG_DOES_NOT_GAIN))
    kept = decided(said(), job(), target, off, rules, answered(1, SMALL, None), view())
    unusable = decided(said(""), job(), target, off, rules, answered(1, SMALL, None), view())
    assert isinstance(kept, Finish) and kept.reason is Reason.CASCADE_OFF
    assert isinstance(unusable, Run)


@pytest.mark.parametrize(("share", "action"), [(0.9, Finish), (0.3, Run)])
def test_where_confidence_sorts_nothing_all_answers_go_the_way_of_their_share_that_is_good(
    job, view, target, calibration, said, rules, answered, share, action
):
    for intercept in (-3.0, 3.0):
        off = known(calibration(intercept=intercept, guard=Guard.NO_BETTER_THAN_MIXING, good=share))
        decision = decided(said(), job(), target, off, rules, answered(1, SMALL, None), view())
        assert isinstance(decision, action) and decision.reason is Reason.CASCADE_OFF


def test_a_guard_does_not_break_a_promise(job, target, calibration, said, rules):
    strict = in_mode(rules, ThresholdMode.GUARANTEE)
    off = known(calibration(guard=Guard.NO_BETTER_THAN_MIXING, threshold=fitted(ThresholdMode.GUARANTEE, 0.9)))
    judged = judge(said(), job(), target, off, strict)[1]
    assert judged.guard is None and judged.threshold == 0.9


def test_at_the_end_of_the_ladder_the_likeliest_calibrated_answer_is_delivered(
    job, view, calibration, said, rules, answered, target
):
    confidence, judged = judge(said(), job(), target, known(calibration()), rules)
    assert confidence == 0.5
    weak = replace(answered(1, SMALL, 0.6), judged=judged)
    strong = replace(answered(2, "llama-70b", 0.4), judged=judged)
    alone = view(without=tuple(name for name in rules.catalogue.targets if name != SMALL))
    action = next_action(job(), (weak, strong), alone, 1_002.0, rules)
    assert isinstance(action, Finish) and action.attempt == 1
    uncalibrated = replace(weak, judged=replace(judged, calibration=None))
    action = next_action(job(), (uncalibrated, strong), alone, 1_002.0, rules)
    assert isinstance(action, Finish) and action.attempt == 2


# --- a threshold of the task's own


def keeping(rules, needed, task="nudge.recognition"):
    tasks = {**rules.tasks, task: replace(rules.tasks[task], keep_from={SMALL: needed})}
    return replace(rules, tasks=tasks)


@pytest.mark.parametrize("mode", [ThresholdMode.FIXED, ThresholdMode.BUDGET])
def test_a_task_may_name_the_confidence_that_it_needs(job, target, calibration, said, rules, mode):
    asked, fitted = job(task="nudge.recognition"), calibration(threshold=Threshold(mode, 0.9, 0.95))
    changed = keeping(in_mode(rules, mode), 0.31)
    for there in ({}, known(fitted)):
        assert judge(said(), asked, target, there, changed)[1].threshold == 0.31
        other = replace(asked, task="nudge.reminder")
        assert judge(said(), other, target, there, changed)[1].threshold != 0.31
    withdrawn = known(replace(fitted, withdrawn="drift"))
    assert judge(said(), asked, target, withdrawn, changed)[1].threshold == 0.95


def test_a_promised_threshold_is_nobody_s_to_name(rules):
    with pytest.raises(ConfigError, match=r"tasks.nudge.recognition.keep_from.llama-8b: does not go with"):
        keeping(in_mode(rules, ThresholdMode.GUARANTEE), 0.3)
    with pytest.raises(ConfigError, match="must be between 0 and 1"):
        keeping(rules, 1.2)


# --- a promise that sorts answers by the value of a stronger one

WORTH = Scorer(Fit.LOGISTIC, ("margin",), (1.0,), 0.0)
"""With a margin of 0, 0.5 that nothing is lost by keeping; with 3.0, 0.95."""


@pytest.mark.parametrize(("margin", "kept"), [(3.0, True), (1.0, True), (0.0, True), (-0.001, False), (-2.0, False)])
@pytest.mark.parametrize("good", [0.0, 4.0, -4.0, 60.0])
def test_by_value_an_answer_is_held_against_a_threshold_of_its_own(
    calibration, said, target, job, rules, margin, kept, good
):
    strict = in_mode(rules, ThresholdMode.GUARANTEE)
    plain = calibration(intercept=good, threshold=PROMISED)
    sorted_by_value = replace(plain, value_scorer=WORTH)

    before, _ = judge(said(margin=margin), job(), target, known(plain), strict)
    confidence, judged = judge(said(margin=margin), job(), target, known(sorted_by_value), strict)

    assert confidence == before
    assert (confidence >= judged.threshold) is kept
    assert 0.0 <= judged.threshold <= math.nextafter(1.0, 2.0)


def test_by_value_nothing_unusable_is_kept_and_a_threshold_that_nothing_reaches_stays(
    calibration, said, target, job, rules
):
    strict = in_mode(rules, ThresholdMode.GUARANTEE)
    escalating = replace(PROMISED, value=math.inf, safer=math.inf)
    for answer, limit in ((said(text="", margin=9.0), PROMISED), (said(margin=9.0), escalating)):
        confidence, judged = judge(
            answer, job(), target, known(calibration(threshold=limit, value_scorer=WORTH)), strict
        )
        assert confidence < judged.threshold == limit.value


def test_by_value_a_withdrawn_promise_is_held_against_its_safer_threshold(calibration, said, target, job, rules):
    strict = in_mode(rules, ThresholdMode.GUARANTEE)
    withdrawn = known(calibration(threshold=PROMISED, value_scorer=WORTH, withdrawn="drift"))

    found = [judge(said(margin=margin), job(), target, withdrawn, strict) for margin in (2.0, 2.3)]

    assert [confidence >= judged.threshold for confidence, judged in found] == [False, True]


def test_in_a_mode_that_promises_nothing_the_value_is_not_asked(calibration, said, target, job, rules):
    fixed = in_mode(rules, ThresholdMode.FIXED)
    with_value, without = (calibration(threshold=PROMISED, value_scorer=scorer) for scorer in (WORTH, None))

    assert judge(said(), job(), target, known(with_value), fixed) == judge(said(), job(), target, known(without), fixed)
