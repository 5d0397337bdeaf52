"""Second looks at an answer in the grey band."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.action import Finish, Run
from fleet.model.attempt import Answer, Failure, FailureKind, Judged, Usage
from fleet.model.calibration import Calibration, CalibrationKey, Fit, OutputKind, Probe, Scorer
from fleet.model.job import Plan
from fleet.model.reason import Reason
from fleet.model.target import Capability
from policies.confidence import probes
from policies.confidence.judge import judge, judge_again
from policies.confidence.signals import Evidence
from policies.features.needs import Needs
from policies.plan import next_action

SMALL, NEXT = "llama-8b", "mixtral-8x7b"
TASK = "nudge.recognition"


@pytest.fixture
def probing(rules):
    def build(probe, **changes):
        return replace(rules, confidence=replace(rules.confidence, probes={TASK: probe}, **changes))

    return build


@pytest.fixture
def replied(features):
    """An answer whose one number is the probability of its text."""

    def build(text, p):
        said = math.log(p)
        return Answer(
            {"content": text}, "stop", Usage(10, 4), "m", replace(features, sum=said, mean=said, min=said, q10=said)
        )

    return build


@pytest.fixture
def after(job, view, answered, replied):
    """The action after an answer of this confidence and these replies to probes, step by step as it is carried out."""

    def decide(rules, text, p, *replies):
        target = rules.catalogue.targets[SMALL]
        answer = replied(text, p)
        confidence, judged = judge(answer, job(), target, {}, rules)
        attempts = (replace(answered(1, SMALL, confidence), outcome=answer, judged=judged),)
        action = next_action(job(), attempts, view(), 1_002.0, rules)
        for reply in replies:
            assert isinstance(action, Run) and action.probe is not None, action
            number = len(attempts) + 1
            if isinstance(reply, Failure):
                found = (None, None)
            else:
                found = judge_again(action.probe, attempts, reply, job(), {}, rules) or (None, None)
            attempt = answered(number, action.target, found[0])
            attempts = (*attempts, replace(attempt, outcome=reply, judged=found[1], probe=action.probe))
            action = next_action(job(), attempts, view(), 1_003.0, rules)
        return action

    return decide


def test_an_answer_outside_the_grey_band_is_not_looked_at_again(after, probing):
    assert isinstance(after(probing(Probe.P_TRUE), "Thanks", 0.99), Finish)
    low = after(probing(Probe.P_TRUE), "Thanks", 0.2)
    assert isinstance(low, Run) and low.probe is None


@pytest.mark.parametrize(("probe", "target"), [(Probe.P_TRUE, SMALL), (Probe.SAMPLE, SMALL), (Probe.PREFILL, NEXT)])
def test_in_the_grey_band_the_task_s_probe_is_run_where_it_belongs(after, probing, probe, target):
    assert after(probing(probe), "Thanks", 0.7) == Run(target, Reason.GREY_BAND, probe)


@pytest.mark.parametrize(("probe", "deaf"), [(Probe.P_TRUE, SMALL), (Probe.PREFILL, NEXT)])
def test_nobody_is_asked_for_one_token_who_gives_no_probability_for_it(after, probing, probe, deaf):
    rules = probing(probe)
    targets = rules.catalogue.targets
    plain = replace(targets[deaf], capabilities=targets[deaf].capabilities - {Capability.LOGPROBS})
    own, above = (plain if name == deaf else targets[name] for name in (SMALL, NEXT))
    assert probes.runs_on(probe, own, above) is None
    assert probes.runs_on(Probe.SAMPLE, own, above) == own


def test_a_look_at_an_answer_that_was_too_long_to_be_carried_on_is_forgotten_with_it(job, view, answered, probing):
    rules = probing(Probe.SAMPLE)
    dropped = replace(answered(1, SMALL, None), outcome=Failure(FailureKind.INTERNAL, "too long"))
    look = replace(answered(2, SMALL, 0.7), probe=Probe.SAMPLE, judged=Judged(0.75, OutputKind.SHORT))
    action = next_action(job(), (dropped, look), view(), 1_005.0, rules)
    assert action == Run(SMALL, Reason.RETRY)


def test_a_yes_keeps_what_would_have_escalated_and_a_no_escalates_what_would_have_been_kept(after, probing, replied):
    rules = probing(Probe.P_TRUE)
    assert after(rules, "Thanks", 0.7, replied("Yes", 0.9)) == replace(
        after(rules, "Thanks", 0.99), attempt=1, reason=Reason.CONFIDENT
    )
    assert after(rules, "Thanks", 0.8, replied("no.", 0.9)) == Run(NEXT, Reason.LOW_CONFIDENCE)


@pytest.mark.parametrize("reply", [Failure(FailureKind.TIMEOUT, "late"), "mumble"])
def test_a_probe_that_brings_nothing_leaves_the_first_judgement(after, probing, replied, reply):
    rules = probing(Probe.P_TRUE)
    reply = replied("maybe", 0.9) if reply == "mumble" else reply
    assert isinstance(after(rules, "Thanks", 0.8, reply), Finish)
    assert after(rules, "Thanks", 0.7, reply) == Run(NEXT, Reason.LOW_CONFIDENCE)


def test_samples_stop_as_soon_as_two_agree(after, probing, replied):
    rules = probing(Probe.SAMPLE)
    assert isinstance(after(rules, "41", 0.7, replied("41", 0.5)), Finish)
    assert after(rules, "41", 0.7, replied("17", 0.5)) == Run(SMALL, Reason.GREY_BAND, Probe.SAMPLE)
    assert after(rules, "41", 0.7, replied("17", 0.5), replied("17", 0.5)) == Run(NEXT, Reason.LOW_CONFIDENCE)


def test_a_probe_is_not_run_where_the_target_is_shut_or_barred(after, probing, job, view, answered, replied):
    rules = probing(Probe.PREFILL)
    answer = replied("Thanks", 0.8)
    confidence, judged = judge(answer, job(), rules.catalogue.targets[SMALL], {}, rules)
    attempts = (replace(answered(1, SMALL, confidence), outcome=answer, judged=judged),)
    for elsewhere in (view(mixtral_8x7b=2_000.0), view(without=(NEXT,))):
        action = next_action(job(), attempts, elsewhere, 1_002.0, rules)
        assert isinstance(action, Finish) or action.probe is not Probe.PREFILL or action.target != NEXT


def test_a_probe_counts_for_money_but_not_as_an_attempt_on_the_ladder(after, probing, replied, job, view, answered):
    rules = probing(Probe.PREFILL)
    action = after(rules, "Thanks", 0.7, replied("no", 0.9))
    assert action == Run(NEXT, Reason.LOW_CONFIDENCE), "the target that verified may still answer"


def test_the_question_carries_the_answer_and_asks_for_one_token(answered):
    request = {"messages": [{"role": "user", "content": "Why?"}], "stop": ["x"], "max_completion_tokens": 9}
    asked = probes.request_for(Probe.P_TRUE, request, (answered(1, SMALL, 0.7),))
    assert [message["role"] for message in asked["messages"]] == ["user", "assistant", "user"]
    assert asked["messages"][1]["content"] == "Thank you, Ada."
    assert asked["max_tokens"] == 1 and "stop" not in asked and "max_completion_tokens" not in asked
    assert request["messages"] == [{"role": "user", "content": "Why?"}]


def test_every_sample_has_a_seed_of_its_own(answered):
    request = {"messages": [{"role": "user", "content": "6 x 7?"}]}
    first = answered(1, SMALL, 0.7)
    second = replace(answered(2, SMALL, 0.6), probe=Probe.SAMPLE)
    seeds = [probes.request_for(Probe.SAMPLE, request, each)["seed"] for each in ((first,), (first, second))]
    assert len(set(seeds)) == 2


def test_each_probe_says_what_it_takes():
    needs, answer = Needs(100, 50, frozenset()), Answer({"content": "x"}, "stop", Usage(100, 40), "m")
    assert probes.needs_of_probe(Probe.SAMPLE, needs, answer) == needs
    for probe in (Probe.P_TRUE, Probe.PREFILL):
        assert probes.needs_of_probe(probe, needs, answer) == Needs(140, 1, frozenset())


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_more_support_never_lowers_the_combined_confidence(confidence, one, other):
    low, high = sorted((one, other))
    weak, strong = (Evidence(None, p_true=p) for p in (low, high))
    assert 0.0 <= probes.combined(confidence, weak) <= probes.combined(confidence, strong) <= 1.0
    few, many = (Evidence(None, agreement=p) for p in (low, high))
    assert 0.0 <= probes.combined(confidence, few) <= probes.combined(confidence, many) <= 1.0


def test_a_calibration_that_knows_the_probe_decides_what_its_reply_is_worth(probing, job, answered, replied):
    rules = probing(Probe.P_TRUE)
    target = rules.catalogue.targets[SMALL]
    worthless = Scorer(Fit.LOGISTIC, ("min_logit", "p_true_logit"), (1.0, 0.0), 0.0)
    calibration = Calibration(
        CalibrationKey(SMALL),
        target.model,
        target.revision,
        target.logprobs_mode,
        "v1",
        1.0,
        300,
        Scorer(Fit.PLATT, ("min_logit",), (1.0,), 0.0),
        probe=Probe.P_TRUE,
        probe_scorer=worthless,
    )
    there = {calibration.key: calibration}
    answer = replied("Thanks", 0.7)
    confidence, judged = judge(answer, job(), target, there, rules)
    attempts = (replace(answered(1, SMALL, confidence), outcome=answer, judged=judged),)
    again = judge_again(Probe.P_TRUE, attempts, replied("no", 0.99), job(), there, rules)
    assert again is not None and again[0] == pytest.approx(0.7)
    unknown = judge_again(Probe.P_TRUE, attempts, replied("no", 0.99), job(), {}, rules)
    assert unknown is not None and unknown[0] < 0.1


def test_a_tenant_s_own_key_pays_for_no_second_look(probing, job, view, answered, replied):
    rules = probing(Probe.P_TRUE)
    judged = judge(replied("Thanks", 0.7), job(), rules.catalogue.targets[SMALL], {}, rules)[1]
    said = replace(answered(1, "gpt-4o", 0.7), outcome=replied("Thanks", 0.7), judged=judged)
    mine = job(plan=Plan.OWN_KEY, own_key="openai/main")
    assert judged.probe is Probe.P_TRUE
    action = next_action(mine, (said,), view(), 1_002.0, rules)
    assert not isinstance(action, Run) or action.probe is None
