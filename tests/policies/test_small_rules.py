"""The small decisions: retry, breaker, batching, confidence, budget, deliveries."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.attempt import Answer, Failure, FailureKind, Usage
from fleet.model.job import Lane, Plan
from fleet.model.view import Breaker
from fleet.settings.documents import load_rules
from policies.budget import cost_usd, estimated_usd, own_key_for
from policies.confidence.judge import judge
from policies.fairness.batching import INTERACTIVE_BYTES, WORK_BYTES, free_for, may_bring, take_now
from policies.features.needs import needs_of
from policies.resilience import breaker, retry
from policies.resilience.delivery import unreadable_again_in
from policies.rules.sections import ConfidenceMethod, ConfidenceRules

RULES = load_rules(None, None, "local")
LLAMA = replace(RULES.catalogue.targets["llama-8b"], max_in_flight=96, batch_size=32)
GPT = RULES.catalogue.targets["gpt-4o"]
JSON = {"response_format": {"type": "json_object"}}
CALLS = [{"id": "1", "type": "function", "function": {"name": "book", "arguments": "{}"}}]


# --- confidence


def _confidence(answer, job, rules=RULES):
    return judge(answer, job, LLAMA, {}, rules)[0]


@pytest.mark.parametrize(
    ("method", "logprob"),
    [
        (ConfidenceMethod.MIN_PROBABILITY, -1.0),
        (ConfidenceMethod.MEAN_PROBABILITY, -0.5),
        (ConfidenceMethod.SEQUENCE_PROBABILITY, -2.0),
    ],
)
def test_the_raw_score_is_the_probability_the_rules_name(job, features, method, logprob):
    by_method = replace(RULES, confidence=ConfidenceRules(method))
    answer = Answer({"content": "Yes."}, "stop", Usage(), "m", features)
    assert _confidence(answer, job(), by_method) == pytest.approx(math.exp(logprob))


@pytest.mark.parametrize(
    ("message", "finish_reason", "request_extra", "confidence"),
    [
        ({"content": "Yes."}, "stop", {}, None),
        ({"content": "Yes"}, "length", {}, 0.0),
        ({"content": ""}, "stop", {}, 0.0),
        ({"content": None}, "stop", {}, 0.0),
        ({}, "stop", {}, 0.0),
        ({"content": None, "tool_calls": CALLS}, "tool_calls", {}, None),
        ({"content": None, "tool_calls": CALLS}, "tool_calls", JSON, None),
        ({"content": '{"day": 1}'}, "stop", JSON, None),
        ({"content": '{"day": '}, "stop", JSON, 0.0),
        ({"content": "[" * 100_000}, "stop", JSON, 0.0),
        ({"content": "no"}, "stop", {"response_format": {"type": "json_schema"}}, 0.0),
        ({"content": "no"}, "stop", {"response_format": {"type": "text"}}, None),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value),
)
def test_an_answer_that_cannot_be_used_has_no_confidence_and_one_without_features_none_to_tell(
    job, message, finish_reason, request_extra, confidence
):
    answer = Answer(message, finish_reason, Usage(), "m")
    assert _confidence(answer, job(request=request_extra)) == confidence


def test_an_unusable_answer_stays_unusable_however_sure_the_model_is(job, features):
    answer = Answer({"content": ""}, "stop", Usage(), "m", replace(features, min=0.0))
    assert _confidence(answer, job()) == 0.0


@pytest.mark.parametrize(("logprob", "confidence"), [(1e-6, 1.0), (-math.inf, 0.0), (math.nan, 0.0)])
def test_odd_numbers_from_an_engine_give_a_confidence_between_0_and_1(job, features, logprob, confidence):
    answer = Answer({"content": "Yes."}, "stop", Usage(), "m", replace(features, min=logprob))
    assert _confidence(answer, job()) == confidence


# --- retry


@pytest.mark.parametrize("kind", FailureKind)
def test_every_kind_of_failure_is_either_worth_a_retry_or_not_and_counts_or_not(kind):
    passing = {"rate_limited", "overloaded", "server_error", "timeout", "connection", "malformed", "internal"}
    unhealthy = passing - {"rate_limited"}
    assert retry.is_retryable(kind) == (kind in passing)
    assert retry.counts_against_target(kind) == (kind in unhealthy)


@given(tries=st.integers(1, 200), seed=st.text(max_size=40))
def test_the_backoff_is_repeatable_and_between_half_of_its_ceiling_and_all_of_it(failed, tries, seed):
    attempts = tuple(failed(number, "llama-8b") for number in range(1, tries + 1))
    ceiling = min(0.5 * 2 ** (tries - 1), 30)
    waited = retry.backoff_seconds(attempts, seed, RULES)
    assert ceiling / 2 <= waited <= ceiling
    assert waited == retry.backoff_seconds(attempts, seed, RULES)


def test_the_backoff_counts_the_tries_on_this_target_only_and_spreads_jobs_out(failed):
    attempts = (failed(1, "llama-8b"), failed(2, "llama-8b"), failed(3, "gpt-4o"))
    waits = {retry.backoff_seconds(attempts, f"job-{number}", RULES) for number in range(50)}
    assert len(waits) == 50
    assert max(waits) <= 0.5


@pytest.mark.parametrize(("retry_after", "least", "most"), [(7.5, 7.5, 7.5), (0.0, 0.25, 0.5), (None, 0.25, 0.5)])
def test_a_target_that_says_when_to_come_back_is_not_asked_earlier(failed, retry_after, least, most):
    attempts = (failed(1, "gpt-4o", FailureKind.RATE_LIMITED, retry_after=retry_after),)
    assert least <= retry.backoff_seconds(attempts, "job", RULES) <= most


# --- breaker


def failing(times: int, now: float = 100.0, start: Breaker | None = None) -> Breaker:
    state = start or Breaker()
    for _ in range(times):
        state = breaker.after(state, True, now, RULES)
    return state


def test_the_breaker_opens_at_the_fifth_failure_in_a_row_and_not_before():
    assert breaker.allows(failing(4), 100.0)
    assert not breaker.allows(failing(5), 100.0)
    forgiven = breaker.after(failing(4), False, 100.0, RULES)
    assert breaker.allows(failing(4, start=forgiven), 100.0)


def test_after_its_open_time_one_trial_decides():
    opened = failing(5)
    assert not breaker.allows(opened, 104.999)
    assert breaker.allows(opened, 105.0)
    assert breaker.after(opened, False, 105.0, RULES) == Breaker()
    assert breaker.after(opened, True, 105.0, RULES).open_until_at == 115.0


def test_stragglers_that_fail_while_the_breaker_is_open_do_not_prolong_it():
    assert failing(90, start=failing(5)) == failing(5)


@given(trips=st.integers(0, 5_000))
def test_the_open_time_grows_to_its_limit_and_never_beyond(trips):
    state = breaker.after(Breaker(9, trips, 0.0), True, 100.0, RULES)
    assert state.open_until_at - 100.0 == pytest.approx(min(5.0 * 2.0 ** min(trips, 60), 300.0))


# --- batching


@pytest.mark.parametrize(
    ("waiting", "oldest", "free", "expected"),
    [
        (0, 0.0, 96, 0),
        (5, 0.001, 95, 0),
        (5, 0.001, 96, 5),
        (5, 0.01, 95, 5),
        (32, 0.0, 95, 32),
        (90, 0.0, 96, 32),
        (90, 0.0, 7, 7),
        (5, 1.0, 3, 3),
        (90, 1.0, 0, 0),
        (90, 1.0, -1, 0),
    ],
)
def test_a_micro_batch_goes_when_it_is_full_or_its_first_job_has_waited_or_the_target_is_idle(
    waiting, oldest, free, expected
):
    assert take_now(waiting, oldest, free, free == LLAMA.max_in_flight, LLAMA) == expected


def test_a_target_without_batches_gets_jobs_one_by_one_at_once():
    assert take_now(10, 0.0, 4, False, GPT) == 1


@pytest.mark.parametrize(
    ("slots", "lane", "interactive", "others", "expected"),
    [
        (96, Lane.INTERACTIVE, 0, 84, 12),
        (96, Lane.BULK, 0, 84, 0),
        (96, Lane.STANDARD, 0, 0, 84),
        (96, Lane.BULK, 30, 0, 66),
        (96, Lane.BULK, 12, 60, 24),
        (4, Lane.BULK, 0, 2, 1),
        (2, Lane.BULK, 0, 0, 1),
        (2, Lane.BULK, 0, 1, 0),
        (1, Lane.BULK, 0, 0, 1),
        (1, Lane.BULK, 1, 0, 0),
    ],
)
def test_an_eighth_of_the_slots_is_kept_for_interactive_jobs(slots, lane, interactive, others, expected):
    assert free_for(lane, interactive, others, replace(LLAMA, max_in_flight=slots)) == expected


@pytest.mark.parametrize(
    ("slots", "lane", "interactive", "others", "burst", "expected"),
    [
        (96, Lane.BULK, 0, 80, 12, 4),
        (96, Lane.BULK, 0, 80, 14, 2),
        (96, Lane.BULK, 10, 60, 20, 16),
        (96, Lane.BULK, 10, 60, 5, 24),
        (96, Lane.BULK, 0, 60, 500, 4),
        (96, Lane.INTERACTIVE, 0, 60, 500, 36),
        (4, Lane.BULK, 0, 0, 3, 3),
        (1, Lane.BULK, 0, 0, 3, 1),
    ],
)
def test_up_to_a_third_is_kept_for_a_burst_of_interactive_jobs(slots, lane, interactive, others, burst, expected):
    assert free_for(lane, interactive, others, replace(LLAMA, max_in_flight=slots), burst) == expected


# --- budget and deliveries


def test_a_cost_is_tokens_at_their_price_per_million():
    assert cost_usd(Usage(1_000_000, 100_000), GPT) == pytest.approx(2.50 + 1.00)
    assert cost_usd(Usage(), GPT) == 0.0


def test_an_estimate_takes_the_requested_output_as_used_or_the_rules_guess(job):
    asked = job(text="x" * 4_000, request={"max_tokens": 100})
    assert estimated_usd(asked, needs_of(asked.request, RULES.estimates), GPT, RULES) == pytest.approx(
        1_000 * 2.5e-6 + 100 * 1e-5
    )
    open_ended = job(text="x" * 4_000)
    assert estimated_usd(open_ended, needs_of(open_ended.request, RULES.estimates), GPT, RULES) == pytest.approx(
        1_000 * 2.5e-6 + 256 * 1e-5
    )


@pytest.mark.parametrize(
    ("plan", "own_key", "expected"),
    [
        (Plan.OWN_KEY, "openai/main", "acme__main"),
        (Plan.OWN_KEY, "groq/acme", None),
        (Plan.OWN_KEY, None, None),
        (Plan.PAID, "openai/main", None),
    ],
)
def test_a_tenants_key_serves_its_own_provider_on_the_own_key_plan_only(job, plan, own_key, expected):
    mine = job(plan=plan, own_key=own_key)
    assert own_key_for(mine, GPT) == expected
    assert (estimated_usd(mine, needs_of(mine.request, RULES.estimates), GPT, RULES) == 0.0) == (expected is not None)


@pytest.mark.parametrize(("deliveries", "seconds"), [(1, 1.0), (2, 2.0), (9, 60.0), (10, None)])
def test_unreadable_work_is_tried_again_for_some_minutes(deliveries, seconds):
    assert unreadable_again_in(deliveries) == seconds


@pytest.mark.parametrize(
    ("kind", "given_seconds", "blamed"),
    [
        (FailureKind.TIMEOUT, 60.0, True),
        (FailureKind.TIMEOUT, 3.0, False),
        (FailureKind.CONNECTION, 3.0, True),
        (FailureKind.INVALID_REQUEST, 60.0, False),
    ],
)
def test_a_target_is_blamed_for_a_time_out_only_if_it_had_its_time(kind, given_seconds, blamed):
    assert retry.blames_target(Failure(kind, ""), given_seconds, LLAMA) is blamed


@pytest.mark.parametrize(
    ("lane", "own", "others", "expected"),
    [
        (Lane.BULK, 0, 0, True),
        (Lane.BULK, WORK_BYTES - 1, 0, True),
        (Lane.BULK, WORK_BYTES, 0, False),
        (Lane.INTERACTIVE, WORK_BYTES, 0, True),
        (Lane.INTERACTIVE, WORK_BYTES + INTERACTIVE_BYTES, 0, False),
        (Lane.BULK, 1, WORK_BYTES, True),
        (Lane.BULK, WORK_BYTES // 4, WORK_BYTES, False),
        (Lane.BULK, 0, 10 * WORK_BYTES, True),
    ],
)
def test_work_is_brought_within_a_number_of_bytes_and_each_target_has_its_share(lane, own, others, expected):
    assert may_bring(lane, own, own + others, targets=4) is expected
