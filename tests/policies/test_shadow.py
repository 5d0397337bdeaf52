"""The shadow sample: who is drawn, where the comparison runs, what it says."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.action import Finish, GiveUp, Run
from fleet.model.attempt import Answer, FailureKind, Judged, Usage
from fleet.model.calibration import OutputKind
from fleet.model.job import CLOUD_DENY, Plan
from fleet.model.reason import Reason
from fleet.model.result import Shadow, Status
from fleet.model.scaling import Capacity
from policies import shadow
from policies.shadow import escalated_comparisons, kept_comparison, shadow_of

SMALL, NEXT, TOP = "llama-8b", "mixtral-8x7b", "llama-70b"
KEPT = Finish(1, Status.SUCCEEDED, Reason.CONFIDENT)


@pytest.fixture
def sampling(rules):
    def build(kept=1.0, escalated=1.0, cloud=False):
        return replace(rules, shadow=replace(rules.shadow, kept=kept, escalated=escalated, cloud=cloud))

    return build


@pytest.fixture
def drawn(job, answered, view, sampling):
    """The shadow of a job kept on its first rung, under rules that draw every job."""

    def build(action=KEPT, attempts=None, rules=None, seen=None, **changes):
        attempts = attempts or (answered(1, SMALL, 0.9),)
        return shadow_of(job(**changes), attempts, action, lambda: seen or view(), 1_002.0, rules or sampling())

    return build


def test_a_kept_answer_is_compared_with_the_next_rung(drawn):
    assert drawn() == Shadow("job-0123456789abcdef", NEXT, 1, 1.0)


@pytest.mark.parametrize(
    "reason", [Reason.NOT_CHECKED, Reason.CASCADE_OFF, Reason.LADDER_EXHAUSTED, Reason.OUT_OF_TIME]
)
def test_only_answers_kept_for_their_confidence_are_drawn(drawn, reason):
    assert drawn(replace(KEPT, reason=reason)) is None


def test_a_tenant_s_own_key_is_never_spent_on_a_comparison(drawn):
    assert drawn(plan=Plan.OWN_KEY, own_key="openai/main") is None


def _cold(seen, target):
    return replace(seen, targets={**seen.targets, target: replace(seen.targets[target], capacity=Capacity(0))})


def test_the_comparison_skips_what_is_barred_what_is_shut_and_what_is_cold(drawn, view):
    assert drawn(seen=view(without=(NEXT,))).target == TOP
    assert drawn(seen=view(mixtral_8x7b=2_000.0)).target == TOP
    assert drawn(seen=_cold(view(), NEXT)).target == TOP


def test_the_comparison_leaves_the_fleet_only_where_rules_and_job_allow_it(drawn, answered, sampling):
    top = (answered(1, TOP, 0.9),)
    assert drawn(attempts=top) is None
    abroad = drawn(attempts=top, rules=sampling(cloud=True))
    assert abroad is not None and abroad.target == "groq-gpt-oss-120b"
    assert drawn(attempts=top, rules=sampling(cloud=True), cloud=CLOUD_DENY) is None


def test_near_the_threshold_an_answer_is_drawn_twice_as_often(drawn, answered, sampling):
    judged = Judged(0.75, OutputKind.SHORT)
    rules = sampling(kept=0.5)
    near = drawn(attempts=(replace(answered(1, SMALL, 0.8), judged=judged),), rules=rules)
    assert near is not None and near.propensity == 1.0
    far = [
        drawn(attempts=(replace(answered(1, SMALL, 0.99), judged=judged),), rules=rules, id=f"job-{n:016d}")
        for n in range(40)
    ]
    propensities = {each.propensity for each in far if each is not None}
    assert propensities == {0.5} and None in far


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_a_repeated_step_draws_the_same_and_a_larger_share_draws_no_fewer(number, share):
    seed = f"kept:acme.job-{number}"
    assert shadow.is_drawn(seed, share) == shadow.is_drawn(seed, share)
    assert not shadow.is_drawn(seed, share) or shadow.is_drawn(seed, min(1.0, share * 2))


def test_the_shares_are_kept(drawn, sampling):
    rules = sampling(kept=0.1)
    hits = sum(drawn(rules=rules, id=f"job-{n:016d}") is not None for n in range(2_000))
    assert 130 <= hits <= 275, "0.1 of 2,000, give or take five standard deviations"


# --- the comparison itself


def test_it_is_one_attempt_and_nothing_is_worth_waiting_for(job, view, rules, answered, failed):
    it = Shadow("job-0123456789abcdef", NEXT, 1, 0.01)
    kept = (answered(1, SMALL, 0.9),)

    def then(attempts, seen=None, now=1_002.0):
        return shadow.next_action(it, job(), attempts, seen or view(), now, rules)

    assert then(kept) == Run(NEXT, Reason.SHADOW)
    assert isinstance(then(kept, view(without=(NEXT,))), GiveUp)
    assert isinstance(then(kept, view(mixtral_8x7b=2_000.0)), GiveUp)
    assert isinstance(then(kept, _cold(view(), NEXT)), GiveUp)
    assert isinstance(then(kept, now=1e9), GiveUp)
    compared = replace(answered(2, NEXT, 0.9), reason=Reason.SHADOW)
    assert then((*kept, compared)) == Finish(2, Status.SUCCEEDED, Reason.SHADOW)
    missed = replace(failed(2, NEXT, FailureKind.TIMEOUT), reason=Reason.SHADOW)
    assert isinstance(then((*kept, missed)), GiveUp)


def saying(attempt, text):
    return replace(attempt, outcome=Answer({"content": text}, "stop", Usage(1, 1), "m"))


def test_a_kept_answer_is_good_where_the_stronger_model_says_the_same(answered):
    it = Shadow("job-0123456789abcdef", NEXT, 1, 0.02)
    kept, other = answered(1, SMALL, 0.9), replace(answered(2, NEXT, 0.9), reason=Reason.SHADOW)
    same = kept_comparison(it, (saying(kept, "yes"), saying(other, "Yes.")))
    differs = kept_comparison(it, (saying(kept, "yes"), saying(other, "no")))
    assert same.good and not differs.good
    assert (same.attempt.target, same.propensity) == (SMALL, 0.02)


def test_prose_in_other_words_is_no_evidence_either_way(answered):
    it = Shadow("job-0123456789abcdef", NEXT, 1, 0.02)
    one = "We should meet on Monday to go through the plan for the launch together."
    kept, other = answered(1, SMALL, 0.9), replace(answered(2, NEXT, 0.9), reason=Reason.SHADOW)
    prose = saying(kept, one), saying(other, one.replace("We should", "Why not").replace("together", "in the team"))
    assert kept_comparison(it, prose) is None


def test_a_comparison_that_never_ran_says_nothing_of_the_kept_answer(answered):
    it = Shadow("job-0123456789abcdef", NEXT, 1, 0.02)
    assert kept_comparison(it, (saying(answered(1, SMALL, 0.9), "yes"),)) is None


def test_an_unusable_answer_is_no_measure_of_another(job, answered, sampling):
    it = Shadow("job-0123456789abcdef", NEXT, 1, 0.02)
    kept, refused = saying(answered(1, SMALL, 0.9), "yes"), saying(answered(2, NEXT, 0.0), "I cannot help with that")
    assert kept_comparison(it, (kept, replace(refused, reason=Reason.SHADOW))) is None
    end = Finish(2, Status.BEST_EFFORT, Reason.LADDER_EXHAUSTED)
    assert escalated_comparisons(job(), (kept, refused), end, sampling()) == []


def test_discarded_answers_of_escalated_jobs_are_labelled_for_nothing(job, answered, sampling):
    attempts = tuple(
        saying(answered(number, name, 0.5), text)
        for number, (name, text) in enumerate(((SMALL, "no"), (NEXT, "Yes"), (TOP, "yes")), start=1)
    )
    end = Finish(3, Status.SUCCEEDED, Reason.CONFIDENT)
    found = escalated_comparisons(job(), attempts, end, sampling())
    assert [(each.attempt.target, each.good) for each in found] == [(SMALL, False), (NEXT, True)]
    assert escalated_comparisons(job(), attempts, end, sampling(escalated=0.0)) == []
    assert escalated_comparisons(job(), attempts[:1], KEPT, sampling()) == []
