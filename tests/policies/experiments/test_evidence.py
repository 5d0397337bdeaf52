"""What jobs say of an arm: six guardrails, and what it takes to be promoted."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fleet.model.experiment import CONTROL, Arm, Experiment, Guardrail, Unit
from policies.experiments.evidence import ALPHA, STAKES, Evidence, Observed

TRIAL = Experiment("trial", Unit.TENANT, (Arm("candidate", 0.3, target="other"),))
SAME = Observed(CONTROL, seconds=1.0, cost_usd=0.001, escalated=False, gate_failed=False, good=0.95)


def told(change, experiment=TRIAL, jobs=3_000, disliked=0.0):
    """Return the evidence after jobs that are alike but for what `change` does to the candidate's."""
    rng, evidence = random.Random(1), Evidence(experiment)
    for _ in range(jobs):
        arm = "candidate" if rng.random() < 0.3 else CONTROL
        drawn = replace(
            SAME, arm=arm, seconds=rng.random(), good=0.9 + 0.1 * rng.random(), escalated=rng.random() < 0.1
        )
        evidence.observe(change(drawn, rng) if arm == "candidate" else drawn)
        if rng.random() < (disliked if arm == "candidate" else 0.01):
            evidence.disliked(arm)
        if evidence.tripped():
            break
    return evidence


@pytest.mark.parametrize(
    ("guardrail", "change"),
    [
        (Guardrail.GATE_FAILURES, lambda job, rng: replace(job, gate_failed=rng.random() < 0.1)),
        (Guardrail.QUALITY, lambda job, rng: replace(job, good=job.good - 0.05)),
        (Guardrail.ESCALATIONS, lambda job, rng: replace(job, escalated=rng.random() < 0.4)),
        (Guardrail.LATE, lambda job, rng: replace(job, seconds=job.seconds + 0.3)),
        (Guardrail.PRICE, lambda job, rng: replace(job, cost_usd=0.0015)),
    ],
)
def test_each_guardrail_stops_an_arm_that_is_worse_in_what_it_watches(guardrail, change):
    arm, standing = told(change).tripped()
    assert (arm, standing.name) == ("candidate", guardrail)
    assert standing.evidence >= standing.needed == pytest.approx(1 / (ALPHA * STAKES[guardrail]))


def test_answers_that_are_called_bad_stop_an_arm():
    _, standing = told(lambda job, rng: job, disliked=0.15).tripped()
    assert standing.name == Guardrail.FEEDBACK


def test_a_job_without_an_answer_is_the_worst_there_is():
    _, standing = told(lambda job, rng: replace(job, answered=False, good=None)).tripped()
    assert standing.name == Guardrail.QUALITY


def test_an_arm_that_is_as_good_and_cheaper_may_be_promoted_and_one_that_is_only_as_good_may_not():
    cheaper = told(lambda job, rng: replace(job, cost_usd=0.0005))
    assert cheaper.tripped() is None
    assert cheaper.may_promote("candidate")
    same = told(lambda job, rng: job)
    assert [standing.is_shown for standing in same.promotion("candidate")] == [True, False]
    assert not same.may_promote("candidate")


def test_what_is_cheaper_is_seen_however_little_jobs_cost():
    thousandth = lambda job, usd: replace(job, cost_usd=usd / 1000)  # noqa: E731
    evidence, rng = Evidence(TRIAL), random.Random(1)
    for _ in range(3_000):
        is_candidate = rng.random() < 0.3
        job = replace(SAME, arm="candidate" if is_candidate else CONTROL, good=0.9 + 0.1 * rng.random())
        evidence.observe(thousandth(job, 0.0005 if is_candidate else 0.001))
    assert evidence.may_promote("candidate")


def test_a_guardrail_that_is_turned_off_stops_nothing_and_a_tolerance_is_granted():
    worse = lambda job, rng: replace(job, cost_usd=0.0015)  # noqa: E731
    off = replace(TRIAL, tolerances={Guardrail.PRICE: None})
    assert told(worse, off).tripped() is None
    assert told(worse, replace(TRIAL, tolerances={Guardrail.PRICE: 0.6})).tripped() is None
    assert Guardrail.PRICE not in [standing.name for standing in told(worse, off, 10).guardrails("candidate")]


def test_two_arms_share_what_may_go_wrong_between_them():
    both = replace(TRIAL, arms=(*TRIAL.arms, Arm("second", 0.1, target="third")))
    [one, *_], [two, *_] = (list(Evidence(each).guardrails("candidate")) for each in (TRIAL, both))
    assert two.needed == 2 * one.needed


def test_the_stakes_are_the_whole_chance_of_a_false_alarm():
    assert sum(STAKES.values()) == pytest.approx(1.0)
    assert set(STAKES) == set(Guardrail)
