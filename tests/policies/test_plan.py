"""What happens next to a job: one table per rule."""

from dataclasses import replace

import pytest

from fleet.model.action import Finish, GiveUp, Run, Wait
from fleet.model.attempt import FailureKind
from fleet.model.job import CLOUD_DENY, Cloud, Lane, Plan, Tier
from fleet.model.reason import Reason
from fleet.model.result import Status
from policies.plan import next_action
from policies.resilience.deadline import deadline_at
from policies.resilience.retry import backoff_seconds

NOW = 1_002.0
CLOUDS = ("groq-gpt-oss-20b", "groq-gpt-oss-120b", "gpt-4o-mini", "gpt-4o", "claude-sonnet")
IMAGE = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]}
PDF = {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}
FILE = {"messages": [{"role": "user", "content": [{"type": "file", "file": PDF}]}]}
FILE_ID = {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]}
AUDIO = {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA=="}}]}]}
TOOLS = {"tools": [{"type": "function", "function": {"name": "book"}}]}


@pytest.mark.parametrize(
    ("task", "changes", "target"),
    [
        ("nudge.recognition", {}, "llama-8b"),
        ("plan.schedule", {}, "mixtral-8x7b"),
        ("report.totals", {}, "llama-70b"),
        ("nudge.recognition", {"tier": Tier.COMPLEX}, "llama-70b"),
        ("review.critique", {}, "claude-sonnet"),
        ("nudge.recognition", {"metadata": {"critical": "true"}}, "claude-sonnet"),
        ("chat", {"request": IMAGE}, "gpt-4o"),
        ("chat", {"request": IMAGE, "metadata": {"critical": "true"}}, "claude-sonnet"),
        ("nudge.recognition", {"request": FILE}, "gpt-4o"),
        ("nudge.recognition", {"request": FILE_ID, "plan": Plan.OWN_KEY, "own_key": "openai/acme"}, "gpt-4o"),
        ("nudge.recognition", {"plan": Plan.OWN_KEY, "own_key": "anthropic/acme"}, "claude-sonnet"),
        ("plan.schedule", {"request": TOOLS}, "llama-70b"),
        ("nudge.recognition", {"text": "x" * 40_000}, "mixtral-8x7b"),
        ("nudge.recognition", {"text": "x" * 80_000}, "groq-gpt-oss-120b"),
        ("nudge.recognition", {"text": "x" * 80_000, "cloud": Cloud(frozenset({"openai"}))}, "gpt-4o"),
        ("nudge.recognition", {"request": {"max_tokens": 9_000}}, "mixtral-8x7b"),
        ("nudge.recognition", {"request": {"model": "auto"}}, "llama-8b"),
    ],
)
def test_a_fresh_job_starts_on_the_weakest_target_that_may_and_can_run_it(rules, job, view, task, changes, target):
    assert next_action(job(task, **changes), (), view(), NOW, rules) == Run(target, Reason.ROUTED)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"task": "nudge.unheard_of"}, "task"),
        ({"deadline_at": 1_000.0}, "deadline"),
        ({"request": {"model": "gpt-99"}}, "request.model"),
        ({"plan": Plan.FREE, "request": {"model": "gpt-4o"}}, "request.model"),
        ({"plan": Plan.OWN_KEY, "own_key": "openai/acme", "request": {"model": "claude-sonnet"}}, "request.model"),
        ({"request": FILE_ID}, "request.messages.0.content.0.file.file_id"),
        ({"request": FILE_ID, "own_key": "openai/acme"}, "request.messages.0.content.0.file.file_id"),
        ({"plan": Plan.OWN_KEY}, "own_key"),
        ({"plan": Plan.OWN_KEY, "own_key": "nobody/acme"}, "own_key"),
        ({"plan": Plan.OWN_KEY, "own_key": "fleet/acme"}, "own_key"),
        ({"text": "x" * 8_000_000}, "request.messages"),
    ],
)
def test_a_job_that_breaks_a_rule_is_rejected_with_the_field_and_a_dead_letter(rules, job, view, changes, field):
    action = next_action(job(**changes), (), view(), NOW, rules)
    assert isinstance(action, GiveUp)
    assert (action.status, action.reason, action.dead) == (Status.REJECTED, Reason.INVALID, True)
    assert action.problem.field == field
    assert action.problem.rule


def test_an_unknown_model_is_answered_with_the_names_that_exist(rules, job, view):
    action = next_action(job(request={"model": "gpt-99"}), (), view(), NOW, rules)
    assert isinstance(action, GiveUp)
    assert all(name in str(action.problem.rule) for name in rules.catalogue.targets)


def test_a_prompt_too_long_for_every_target_is_answered_with_the_numbers(rules, job, view):
    action = next_action(job(text="x" * 8_000_000), (), view(), NOW, rules)
    assert isinstance(action, GiveUp)
    assert "1000000" in str(action.problem.rule)
    assert "2000001" in str(action.problem.rule)


@pytest.mark.parametrize(
    ("lane", "deadline", "last_second"),
    [
        (Lane.INTERACTIVE, None, 1_030),
        (Lane.STANDARD, None, 1_900),
        (Lane.BULK, None, 87_400),
        (Lane.BULK, 1_005, 1_005),
    ],
)
def test_a_job_nobody_started_expires_at_its_deadline(rules, job, view, lane, deadline, last_second):
    fresh = job(lane=lane, deadline_at=deadline)
    assert isinstance(next_action(fresh, (), view(), last_second - 0.001, rules), Run)
    action = next_action(fresh, (), view(), last_second, rules)
    assert isinstance(action, GiveUp)
    assert (action.status, action.reason, action.dead) == (Status.EXPIRED, Reason.DEADLINE_PASSED, False)


@pytest.mark.parametrize(
    ("model", "answers", "action"),
    [
        ("llama-70b", [], Run("llama-70b", Reason.PINNED)),
        ("llama-70b", ["llama-70b"], Run("groq-gpt-oss-120b", Reason.LOW_CONFIDENCE)),
        ("gpt-4o-mini", [], Run("gpt-4o-mini", Reason.PINNED)),
        ("gpt-4o-mini", ["gpt-4o-mini"], Finish(1, Status.BEST_EFFORT, Reason.LADDER_EXHAUSTED)),
    ],
)
def test_a_pinned_model_is_the_first_rung_and_only_stronger_ones_follow(
    rules, job, view, answered, model, answers, action
):
    attempts = tuple(answered(1, name, 0.1) for name in answers)
    assert next_action(job(request={"model": model}), attempts, view(), NOW, rules) == action


@pytest.mark.parametrize(
    ("plan", "task", "target", "confidence", "action"),
    [
        (Plan.FREE, "nudge.recognition", "llama-8b", 0.70, Finish(1, Status.SUCCEEDED, Reason.CONFIDENT)),
        (Plan.FREE, "nudge.recognition", "llama-8b", 0.69, Run("mixtral-8x7b", Reason.LOW_CONFIDENCE)),
        (Plan.PAID, "nudge.recognition", "llama-8b", 0.70, Run("mixtral-8x7b", Reason.LOW_CONFIDENCE)),
        (Plan.PAID, "nudge.recognition", "llama-8b", 0.75, Finish(1, Status.SUCCEEDED, Reason.CONFIDENT)),
        (Plan.PAID, "report.totals", "llama-70b", 0.84, Run("groq-gpt-oss-120b", Reason.LOW_CONFIDENCE)),
        (Plan.PAID, "report.totals", "llama-70b", 0.85, Finish(1, Status.SUCCEEDED, Reason.CONFIDENT)),
        (Plan.PAID, "review.critique", "claude-sonnet", None, Finish(1, Status.SUCCEEDED, Reason.NOT_CHECKED)),
    ],
)
def test_an_answer_is_delivered_from_the_threshold_of_its_plan_and_tier(
    rules, job, view, answered, plan, task, target, confidence, action
):
    attempts = (answered(1, target, confidence),)
    assert next_action(job(task, plan=plan), attempts, view(), NOW, rules) == action


@pytest.mark.parametrize(
    ("confidences", "best"),
    [((0.1, 0.2), 2), ((0.6, 0.2), 2), ((0.6, 0.0), 1), ((0.0, 0.0), 2)],
    ids=["stronger and surer", "stronger but less sure", "stronger but unusable", "none usable"],
)
def test_at_the_top_of_the_ladder_the_strongest_usable_answer_is_the_result(
    rules, job, view, answered, confidences, best
):
    attempts = (answered(1, "mixtral-8x7b", confidences[0]), answered(2, "llama-70b", confidences[1]))
    action = next_action(job(cloud=CLOUD_DENY), attempts, view(), NOW, rules)
    assert action == Finish(best, Status.BEST_EFFORT, Reason.LADDER_EXHAUSTED)


def test_a_free_plan_never_climbs_beyond_groq(rules, job, view, answered):
    attempts = (answered(1, "groq-gpt-oss-120b", 0.1),)
    action = next_action(job(plan=Plan.FREE), attempts, view(), NOW, rules)
    assert action == Finish(1, Status.BEST_EFFORT, Reason.LADDER_EXHAUSTED)


@pytest.mark.parametrize("seconds_left", [0.5, -1.0])
def test_without_time_for_another_attempt_the_doubtful_answer_is_the_result(rules, job, view, answered, seconds_left):
    attempts = (answered(1, "llama-8b", 0.1),)
    action = next_action(job(deadline_at=NOW + seconds_left), attempts, view(), NOW, rules)
    assert action == Finish(1, Status.BEST_EFFORT, Reason.OUT_OF_TIME)


def test_a_failure_after_the_deadline_falls_back_on_an_earlier_answer_or_expires(rules, job, view, answered, failed):
    late = job(deadline_at=NOW)
    after_answer = (answered(1, "llama-8b", 0.1), failed(2, "mixtral-8x7b"))
    assert next_action(late, after_answer, view(), NOW, rules) == Finish(1, Status.BEST_EFFORT, Reason.OUT_OF_TIME)
    action = next_action(late, (failed(1, "llama-8b"),), view(), NOW, rules)
    assert isinstance(action, GiveUp)
    assert action.status is Status.EXPIRED


def test_a_job_stops_climbing_when_the_next_attempt_would_cost_more_than_it_has_left(rules, job, view, answered):
    attempts = (answered(1, "groq-gpt-oss-120b", 0.1, cost_usd=0.0009),)
    poor = job(max_cost_usd=0.001)
    action = next_action(poor, attempts, view(), NOW, rules)
    assert action == Finish(1, Status.BEST_EFFORT, Reason.OUT_OF_MONEY)
    assert next_action(job(max_cost_usd=1.0), attempts, view(), NOW, rules) == Run("gpt-4o", Reason.LOW_CONFIDENCE)


def test_a_job_that_can_pay_for_nothing_is_not_started(rules, job, view):
    action = next_action(job(max_cost_usd=0.0), (), view(), NOW, rules)
    assert isinstance(action, GiveUp)
    assert (action.status, action.reason) == (Status.FAILED, Reason.OUT_OF_MONEY)
    assert action.problem.field == "max_cost_usd"


def test_a_tenant_with_its_own_key_spends_nothing_of_its_limit(rules, job, view):
    own = job(plan=Plan.OWN_KEY, own_key="openai/acme", max_cost_usd=0.0)
    assert next_action(own, (), view(), NOW, rules) == Run("gpt-4o", Reason.ROUTED)


def test_a_failure_that_may_pass_is_retried_after_its_backoff(rules, job, view, failed):
    attempts = (failed(1, "llama-8b", at=1_001.9),)
    ready_at = 1_001.9 + backoff_seconds(attempts, job().id, rules)
    action = next_action(job(), attempts, view(), NOW, rules)
    assert isinstance(action, Wait)
    assert (action.target, action.reason) == ("llama-8b", Reason.BACKOFF)
    assert action.seconds == pytest.approx(ready_at - NOW)
    assert next_action(job(), attempts, view(), ready_at, rules) == Run("llama-8b", Reason.RETRY)


@pytest.mark.parametrize(
    ("kinds", "deadline"),
    [
        ([FailureKind.CONTENT_FILTER], None),
        ([FailureKind.CONTEXT_TOO_LONG], None),
        ([FailureKind.AUTHENTICATION], None),
        ([FailureKind.TIMEOUT] * 3, None),
        ([FailureKind.TIMEOUT], NOW + 0.01),
    ],
    ids=["refused", "too long", "no access", "tries spent", "backoff beyond the deadline"],
)
def test_a_target_not_worth_a_retry_is_left_for_the_next_rung(rules, job, view, failed, kinds, deadline):
    attempts = tuple(failed(number, "llama-8b", kind, at=NOW) for number, kind in enumerate(kinds, 1))
    action = next_action(job(deadline_at=deadline), attempts, view(), NOW, rules)
    assert action == Run("mixtral-8x7b", Reason.TARGET_FAILED)


def test_local_failures_climb_to_groq_then_gpt_4o_then_a_clear_error(rules, job, view, failed):
    ladder = ["llama-8b", "mixtral-8x7b", "llama-70b", "groq-gpt-oss-120b", "gpt-4o", "claude-sonnet"]
    attempts = ()
    for number, target in enumerate(ladder, 1):
        action = next_action(job(), attempts, view(), NOW, rules)
        assert isinstance(action, Run)
        assert action.target == target
        attempts += (failed(number, target, FailureKind.CONTENT_FILTER),)
    action = next_action(job(), attempts, view(), NOW, rules)
    assert isinstance(action, GiveUp)
    assert (action.status, action.reason, action.dead) == (Status.FAILED, Reason.ALL_FAILED, True)
    assert action.problem.message == "claude-sonnet failed last: content_filter: no reply"


@pytest.mark.parametrize(
    ("kinds", "status"),
    [
        ((FailureKind.INVALID_REQUEST, FailureKind.CONTEXT_TOO_LONG), Status.REJECTED),
        ((FailureKind.INVALID_REQUEST, FailureKind.CONTENT_FILTER), Status.FAILED),
    ],
)
def test_a_request_every_target_refuses_is_the_requests_fault(rules, job, view, failed, kinds, status):
    attempts = (failed(1, "mixtral-8x7b", kinds[0]), failed(2, "llama-70b", kinds[1]))
    action = next_action(job("plan.schedule", cloud=CLOUD_DENY), attempts, view(), NOW, rules)
    assert isinstance(action, GiveUp)
    assert action.status is status


def test_a_job_never_gets_more_attempts_than_the_rules_allow(rules, job, view, failed):
    short = replace(rules, retry=replace(rules.retry, max_attempts=2))
    attempts = (
        failed(1, "llama-8b", FailureKind.CONTENT_FILTER),
        failed(2, "mixtral-8x7b", FailureKind.CONTENT_FILTER),
    )
    assert isinstance(next_action(job(), attempts[:1], view(), NOW, short), Run)
    action = next_action(job(), attempts, view(), NOW, short)
    assert isinstance(action, GiveUp)
    assert action.reason is Reason.ALL_FAILED


def test_an_earlier_answer_outlives_later_failures(rules, job, view, answered, failed):
    attempts = (answered(1, "mixtral-8x7b", 0.3), failed(2, "llama-70b", FailureKind.CONTENT_FILTER))
    action = next_action(job(cloud=CLOUD_DENY), attempts, view(), NOW, rules)
    assert action == Finish(1, Status.BEST_EFFORT, Reason.LADDER_EXHAUSTED)


def test_an_open_breaker_sends_the_job_to_the_next_rung(rules, job, view):
    assert next_action(job(), (), view(llama_8b=NOW + 9), NOW, rules) == Run("mixtral-8x7b", Reason.TARGET_UNAVAILABLE)
    assert next_action(job(), (), view(llama_8b=NOW), NOW, rules) == Run("llama-8b", Reason.ROUTED)


@pytest.mark.parametrize(
    ("open_until", "seconds"), [(NOW + 9, 9.0), (NOW + 99, 20.0)], ids=["closes", "deadline first"]
)
def test_with_every_breaker_open_the_job_waits_for_the_first_but_not_beyond_its_deadline(
    rules, job, view, open_until, seconds
):
    offline = view(without=CLOUDS, llama_8b=NOW + 100, mixtral_8x7b=open_until, llama_70b=NOW + 100)
    action = next_action(job(deadline_at=NOW + 20), (), offline, NOW, rules)
    assert action == Wait("mixtral-8x7b", seconds, Reason.BREAKER_OPEN)


def test_a_rung_skipped_while_its_breaker_was_open_is_tried_when_the_others_fail(rules, job, view, failed):
    attempts = (failed(1, "mixtral-8x7b", FailureKind.CONTENT_FILTER),)
    assert next_action(job(), attempts, view(), NOW, rules) == Run("llama-8b", Reason.TARGET_FAILED)


def test_a_rung_below_an_answer_is_never_tried(rules, job, view, answered):
    action = next_action(job(cloud=CLOUD_DENY), (answered(1, "llama-70b", 0.1),), view(), NOW, rules)
    assert action == Finish(1, Status.BEST_EFFORT, Reason.LADDER_EXHAUSTED)


def test_a_job_nothing_may_run_says_what_excluded_each_target(rules, job, view):
    denied = job(request=IMAGE, cloud=Cloud(frozenset({"anthropic"})))
    action = next_action(denied, (), view(without=("claude-sonnet",)), NOW, rules)
    assert isinstance(action, GiveUp)
    assert (action.status, action.reason) == (Status.FAILED, Reason.NO_TARGET)
    assert "gpt-4o: the job does not permit openai" in action.problem.message
    assert "claude-sonnet: not available" in action.problem.message


def test_a_task_removed_from_the_rules_does_not_strand_a_running_job(rules, job, view, answered):
    action = next_action(job("task.of_yesterday"), (answered(1, "llama-8b", 0.9),), view(), NOW, rules)
    assert action == Finish(1, Status.SUCCEEDED, Reason.CONFIDENT)


def test_the_deadline_is_the_jobs_own_word_or_the_lanes_default(rules, job):
    assert deadline_at(job(deadline_at=1_234.0), rules) == 1_234.0
    assert deadline_at(job(lane=Lane.INTERACTIVE), rules) == 1_030.0


def test_a_prompt_too_long_for_every_target_the_job_may_reach_is_rejected_by_name(rules, job, view):
    long = job(text="word " * 30_000, cloud=CLOUD_DENY)
    action = next_action(long, (), view(without=("groq-gpt-oss-120b",)), 1_000.0, rules)
    assert (action.status, action.problem.field) == (Status.REJECTED, "request.messages")
    assert "8192" in action.problem.rule or "16384" in action.problem.rule


def test_a_job_with_audio_has_no_target_where_none_is_priced_for_it(rules, job, view):
    given_up = next_action(job(request=AUDIO), (), view(), NOW, rules)
    assert (given_up.status, given_up.reason) == (Status.FAILED, Reason.NO_TARGET)
    assert "gpt-4o: cannot do audio" in given_up.problem.message


def test_a_request_that_all_targets_refuse_is_rejected_by_the_field_they_name(rules, job, view, failed):
    refused = failed(1, "gpt-4o", FailureKind.INVALID_REQUEST)
    detail = "request.tools.0.function.name: must match"
    refused = replace(refused, outcome=replace(refused.outcome, detail=detail))
    pinned = job(request={"model": "gpt-4o"})
    given_up = next_action(pinned, (refused,), view(without=("claude-sonnet",)), NOW, rules)
    assert given_up.status is Status.REJECTED
    assert given_up.problem.field == "request.tools.0.function.name"
