"""A job whose target is cold waits or goes on, by its deadline and by price."""

import math
from dataclasses import replace

import pytest

from fleet.model.action import Finish, Run, Wait
from fleet.model.attempt import Answer, FailureKind, Usage
from fleet.model.calibration import Probe
from fleet.model.job import CLOUD_DENY
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.scaling import Capacity
from fleet.model.view import View
from policies.confidence.judge import judge
from policies.plan import next_action
from policies.resilience.cold import LOOK_AGAIN_SECONDS, SHORTEST_SECONDS
from policies.rules.catalogue import catalogue_of

NOW = 1_002.0
COLD = Capacity(0)
WARM = Capacity(1)
HELD = Capacity(0, held=True)
COLD_SECONDS = 240.0  # llama-8b
TIMEOUT_SECONDS = 60.0
GROQ = "groq-gpt-oss-120b"


@pytest.fixture
def cold_view(view):
    """The view with these capacities; the keys have underscores for dashes and dots."""

    def build(breakers=None, **capacities):
        names = {"llama_8b": "llama-8b", "mixtral": "mixtral-8x7b", "llama_70b": "llama-70b"}
        targets = dict(view(**(breakers or {})).targets)
        for short, capacity in capacities.items():
            targets[names[short]] = replace(targets[names[short]], capacity=capacity)
        return View(targets)

    return build


@pytest.mark.parametrize(
    ("left_seconds", "capacity", "waits"),
    [
        (COLD_SECONDS + TIMEOUT_SECONDS, COLD, True),
        (COLD_SECONDS + TIMEOUT_SECONDS - 1, COLD, False),
        (COLD_SECONDS + TIMEOUT_SECONDS - 100, Capacity(0, 1, NOW - 100), True),
        (COLD_SECONDS + TIMEOUT_SECONDS - 101, Capacity(0, 1, NOW - 100), False),
        (COLD_SECONDS + TIMEOUT_SECONDS - 100, Capacity(0, 1, None), False),
        (86_400, HELD, False),
    ],
)
def test_a_job_waits_for_a_start_that_leaves_its_call_all_the_time_it_may_take(
    rules, job, cold_view, left_seconds, capacity, waits
):
    fresh = job(deadline_at=NOW + left_seconds)
    wait = Wait("llama-8b", LOOK_AGAIN_SECONDS, Reason.COLD)
    elsewhere = Run("mixtral-8x7b", Reason.TARGET_COLD)
    assert next_action(fresh, (), cold_view(llama_8b=capacity), NOW, rules) == (wait if waits else elsewhere)


@pytest.mark.parametrize(
    ("overdue_seconds", "waits_seconds"),
    [(-4.0, 4.0), (0.0, SHORTEST_SECONDS), (3.0, 3.0), (100.0, LOOK_AGAIN_SECONDS), (599.0, None)],
)
def test_an_overdue_start_is_believed_to_take_as_long_again(rules, job, cold_view, overdue_seconds, waits_seconds):
    starting = Capacity(0, 1, NOW - COLD_SECONDS - overdue_seconds)
    action = next_action(job(deadline_at=NOW + 650), (), cold_view(llama_8b=starting), NOW, rules)
    if waits_seconds is None:
        assert action == Run("mixtral-8x7b", Reason.TARGET_COLD)
    else:
        assert action == Wait("llama-8b", waits_seconds, Reason.COLD)


def test_unknown_capacity_and_a_running_replica_change_nothing(rules, job, cold_view):
    for capacity in (None, WARM, Capacity(1, 3, NOW), Capacity(1, held=True)):
        action = next_action(job(), (), cold_view(llama_8b=capacity), NOW, rules)
        assert action == Run("llama-8b", Reason.ROUTED)


def test_a_warm_rung_that_costs_no_more_is_taken_at_once(rules, job, cold_view):
    """Groq's model costs less than Mixtral is imputed to; 70B costs more."""
    fresh = job("plan.schedule")
    assert next_action(fresh, (), cold_view(mixtral=COLD, llama_70b=COLD), NOW, rules) == Run(GROQ, Reason.TARGET_COLD)
    waits = next_action(fresh, (), cold_view(mixtral=COLD, llama_70b=WARM), NOW, rules)
    assert waits == Wait("mixtral-8x7b", LOOK_AGAIN_SECONDS, Reason.COLD)


def test_at_the_same_price_nobody_waits(rules, job, cold_view):
    small = rules.catalogue.targets["llama-8b"]
    prices = small.input_usd_per_million_tokens, small.output_usd_per_million_tokens
    next_one = replace(
        rules.catalogue.targets["mixtral-8x7b"],
        input_usd_per_million_tokens=prices[0],
        output_usd_per_million_tokens=prices[1],
    )
    alike = replace(rules, catalogue=catalogue_of({**rules.catalogue.targets, next_one.name: next_one}.values()))
    action = next_action(job(), (), cold_view(llama_8b=COLD, mixtral=WARM), NOW, alike)
    assert action == Run("mixtral-8x7b", Reason.TARGET_COLD)


def test_where_the_weakest_comes_too_late_a_stronger_one_that_starts_sooner_is_waited_for(rules, job, cold_view):
    fresh = job(deadline_at=NOW + 200, cloud=CLOUD_DENY)
    soon = Capacity(0, 1, NOW - 400)  # mixtral: 80 of 480 seconds left
    action = next_action(fresh, (), cold_view(llama_8b=COLD, mixtral=soon, llama_70b=WARM), NOW, rules)
    assert action == Wait("mixtral-8x7b", LOOK_AGAIN_SECONDS, Reason.COLD)


@pytest.mark.parametrize(
    ("breakers", "capacities", "action"),
    [
        ({}, {"llama_8b": COLD, "mixtral": COLD, "llama_70b": COLD}, Wait("llama-8b", 10, Reason.COLD)),
        (
            {},
            {"llama_8b": COLD, "mixtral": Capacity(0, 1, NOW - 478), "llama_70b": COLD},
            Wait("mixtral-8x7b", 2, Reason.COLD),
        ),
        (
            {"llama_8b": NOW + 5},
            {"mixtral": COLD, "llama_70b": COLD},
            Wait("llama-8b", 5, Reason.BREAKER_OPEN),
        ),
        (
            {"llama_8b": NOW + 500},
            {"mixtral": COLD, "llama_70b": COLD},
            Wait("mixtral-8x7b", 10, Reason.COLD),
        ),
        ({}, {"llama_8b": HELD, "mixtral": HELD, "llama_70b": HELD}, Wait("llama-8b", 10, Reason.COLD)),
        ({}, {"llama_8b": HELD, "mixtral": COLD, "llama_70b": HELD}, Wait("mixtral-8x7b", 10, Reason.COLD)),
    ],
)
def test_with_no_rung_open_the_job_waits_for_the_first_to_open(rules, job, cold_view, breakers, capacities, action):
    fresh = job(cloud=CLOUD_DENY, deadline_at=NOW + 700)
    assert next_action(fresh, (), cold_view(breakers, **capacities), NOW, rules) == action


def test_no_wait_goes_beyond_the_deadline(rules, job, cold_view):
    fresh = job(cloud=CLOUD_DENY, deadline_at=NOW + 3)
    shut = cold_view(llama_8b=COLD, mixtral=COLD, llama_70b=HELD)
    assert next_action(fresh, (), shut, NOW, rules) == Wait("llama-8b", 3, Reason.COLD)


def test_a_shut_rung_below_gives_its_reason_when_it_was_passed_first(rules, job, cold_view):
    fresh = job(deadline_at=NOW + 100)
    shut_first = cold_view({"llama_8b": NOW + 9}, mixtral=COLD)
    assert next_action(fresh, (), shut_first, NOW, rules) == Run("llama-70b", Reason.TARGET_UNAVAILABLE)
    cold_first = cold_view({"mixtral_8x7b": NOW + 9}, llama_8b=COLD)
    assert next_action(fresh, (), cold_first, NOW, rules) == Run("llama-70b", Reason.TARGET_COLD)


@pytest.mark.parametrize(
    ("left_seconds", "action"),
    [
        (900, Wait("mixtral-8x7b", LOOK_AGAIN_SECONDS, Reason.COLD)),
        (100, Run("llama-70b", Reason.TARGET_COLD)),
    ],
)
def test_an_answer_that_is_not_trusted_waits_for_the_next_rung_or_passes_it(
    rules, job, cold_view, answered, left_seconds, action
):
    attempts = (answered(1, "llama-8b", 0.1),)
    fresh = job(deadline_at=NOW + left_seconds)
    assert next_action(fresh, attempts, cold_view(mixtral=COLD), NOW, rules) == action


def test_with_an_answer_in_hand_nobody_waits_for_what_an_operator_keeps_cold(rules, job, cold_view, answered, failed):
    fresh = job(cloud=CLOUD_DENY)
    held = cold_view(mixtral=HELD, llama_70b=HELD)
    ended = next_action(fresh, (answered(1, "llama-8b", 0.1),), held, NOW, rules)
    assert ended == Finish(1, Status.BEST_EFFORT, Reason.LADDER_EXHAUSTED)
    refused = (failed(1, "llama-8b", FailureKind.CONTEXT_TOO_LONG),)
    assert next_action(fresh, refused, held, NOW, rules) == Wait("mixtral-8x7b", LOOK_AGAIN_SECONDS, Reason.COLD)


def test_a_retry_on_a_target_whose_last_replica_is_gone_waits_for_another_or_goes_on(rules, job, cold_view, failed):
    attempts = (failed(1, "llama-8b"),)
    patient, hasty = job(), job(deadline_at=NOW + 100)
    assert next_action(patient, attempts, cold_view(llama_8b=COLD), NOW, rules) == Wait("llama-8b", 10, Reason.COLD)
    assert next_action(hasty, attempts, cold_view(llama_8b=COLD), NOW, rules) == Run("mixtral-8x7b", Reason.TARGET_COLD)


def test_a_second_look_is_not_worth_a_wait(rules, job, cold_view, answered, features):
    probing = replace(rules, confidence=replace(rules.confidence, probes={"nudge.recognition": Probe.PREFILL}))
    p = math.log(0.7)
    answer = Answer({"content": "Thanks"}, "stop", Usage(10, 4), "m", replace(features, min=p))
    target = rules.catalogue.targets["llama-8b"]
    confidence, judged = judge(answer, job(), target, {}, probing)
    near = replace(answered(1, "llama-8b", confidence), outcome=answer, judged=judged)
    warm = next_action(job(), (near,), cold_view(mixtral=WARM), NOW, probing)
    assert warm == Run("mixtral-8x7b", Reason.GREY_BAND, Probe.PREFILL)
    cold = next_action(job(deadline_at=NOW + 99), (near,), cold_view(mixtral=COLD), NOW, probing)
    assert cold == Run("llama-70b", Reason.TARGET_COLD)


def test_a_target_without_a_word_on_its_starts_is_expected_any_moment(rules, job, cold_view):
    silent = [replace(target, serving=None) for target in rules.catalogue.targets.values()]
    mute = replace(rules, catalogue=catalogue_of(silent))
    assert next_action(job(), (), cold_view(llama_8b=COLD), NOW, mute) == Wait("llama-8b", 1, Reason.COLD)
