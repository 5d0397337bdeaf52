"""Delayed jobs, jobs that cannot make it, and messages that come too often."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.model.action import Finish, GiveUp, Run, Wait
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.view import Sojourn, TargetView, View
from policies.plan import next_action
from policies.resilience.deadline import deadline_at, out_of_reach
from policies.resilience.delivery import LONGEST_WAIT_SECONDS, enough, is_suspect, starts_anew

NOW = 1_001.0
RUN = Run("llama-8b", Reason.ROUTED)
BUSY = Wait("llama-8b", 1.0, Reason.MONEY_BUSY)
DELAYED = Wait("llama-8b", 1.0, Reason.DELAYED)
DAY = 86_400.0


@pytest.mark.parametrize(
    ("not_before_at", "seconds"),
    [(1_061.0, 60.0), (NOW + LONGEST_WAIT_SECONDS + 1, LONGEST_WAIT_SECONDS), (NOW + 20 * DAY, LONGEST_WAIT_SECONDS)],
)
def test_a_delayed_job_waits_in_portions(rules, job, view, not_before_at, seconds):
    action = next_action(job(not_before_at=not_before_at), (), view(), NOW, rules)
    assert isinstance(action, Wait)
    assert (action.reason, action.seconds) == (Reason.DELAYED, seconds)


@pytest.mark.parametrize("not_before_at", [None, 900.0, NOW])
def test_a_job_whose_time_has_come_runs(rules, job, view, not_before_at):
    assert isinstance(next_action(job(not_before_at=not_before_at), (), view(), NOW, rules), Run)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"not_before_at": 2_000.0, "deadline_at": 2_000.0}, "deadline"),
        ({"not_before_at": 2_000.0, "deadline_at": 1_500.0}, "deadline"),
        ({"not_before_at": 1_000.0 + 31 * DAY}, "not_before"),
    ],
)
def test_a_delay_that_makes_no_sense_is_rejected_by_name(rules, job, view, changes, field):
    action = next_action(job(**changes), (), view(), NOW, rules)
    assert isinstance(action, GiveUp)
    assert (action.status, action.problem.field) == (Status.REJECTED, field)
    assert action.problem.rule


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, 1_000.0), ({"not_before_at": 500.0}, 1_000.0), ({"not_before_at": 5_000.0}, 5_000.0)],
)
def test_the_default_deadline_counts_from_when_a_job_may_run(rules, job, changes, expected):
    assert deadline_at(job(**changes), rules) == expected + rules.deadlines.standard_seconds


def seeing(seconds: float, answers: int = 20, seen_at: float = NOW, lane: Lane = Lane.STANDARD) -> View:
    return View({"llama-8b": TargetView(sojourns={lane: Sojourn(seconds, answers, seen_at)})})


@pytest.mark.parametrize(
    ("left_seconds", "view", "given_up"),
    [
        (10.0, seeing(20.1), True),
        (10.0, seeing(20.0), False),
        (10.0, seeing(20.1, answers=19), False),
        (10.0, seeing(20.1, seen_at=NOW - 31), False),
        (10.0, seeing(20.1, lane=Lane.BULK), False),
        (10.0, View({"llama-8b": TargetView()}), False),
    ],
)
def test_a_job_is_given_up_early_only_on_good_evidence(rules, job, left_seconds, view, given_up):
    end = out_of_reach(job(deadline_at=NOW + left_seconds), "llama-8b", view, NOW, rules)
    assert (end is not None) is given_up
    if end is not None:
        assert (end.status, end.reason) == (Status.EXPIRED, Reason.DEADLINE_OUT_OF_REACH)


@pytest.mark.parametrize(
    ("action", "deliveries", "given_up"),
    [(RUN, 1_000, False), (RUN, 1_001, True), (BUSY, 5_000, False), (GiveUp, 5_000, False)],
)
def test_only_a_job_about_to_run_is_held_to_its_deliveries_and_only_where_they_are_beyond_all_neighbours(
    rules, job, action, deliveries, given_up
):
    assert (enough(action, deliveries, job(), (), rules) is not None) is given_up


def test_a_message_given_up_with_an_answer_in_hand_delivers_it(rules, job, answered):
    end = enough(RUN, 1_001, job(), (answered(1, "llama-8b", 0.2),), rules)
    assert isinstance(end, Finish)
    assert (end.attempt, end.status) == (1, Status.BEST_EFFORT)


def test_the_portions_of_its_own_delay_are_not_held_against_a_job(rules, job):
    delayed = job(not_before_at=1_000.0 + 20 * DAY)
    assert enough(RUN, 10 * (100 + 20 * 24), delayed, (), rules) is None
    assert enough(RUN, 10 * (100 + 20 * 24) + 1, delayed, (), rules) is not None


@pytest.mark.parametrize(
    ("wait", "deliveries", "anew"), [(BUSY, 99, False), (BUSY, 100, True), (DELAYED, 5_000, False)]
)
def test_a_long_wait_goes_on_in_a_new_message(rules, job, wait, deliveries, anew):
    assert starts_anew(wait, deliveries, job(), rules) is anew


def test_no_number_of_waits_ends_a_job_before_its_deadline(rules, job, view):
    """As the dispatcher goes about it, with every breaker open for good: the count never refuses the run at last."""
    shut = {name: replace(one, breaker=replace(one.breaker, open_until_at=1e9)) for name, one in view().targets.items()}
    waiting, deliveries, now = job(deadline_at=NOW + 1e6), 1, NOW
    for _ in range(1_000):
        action = next_action(waiting, (), View(shut), now, rules)
        assert isinstance(action, Wait)
        assert enough(action, deliveries, waiting, (), rules) is None
        deliveries = 1 if starts_anew(action, deliveries, waiting, rules) else deliveries + 1
        now += 10.0
    assert enough(RUN, deliveries, waiting, (), rules) is None


def test_a_job_is_suspected_after_its_second_crash_and_the_portions_of_its_delay_are_none(job):
    assert [is_suspect(deliveries, job()) for deliveries in (1, 2, 3)] == [False, False, True]
    delayed = job(not_before_at=1_000.0 + 20 * DAY)
    assert [is_suspect(deliveries, delayed) for deliveries in (2 + 20 * 24, 3 + 20 * 24)] == [False, True]
