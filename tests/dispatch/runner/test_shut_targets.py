"""Targets that fail: one call at a time tries them again, and the account's faults are nobody else's."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.state.state import FleetState
from fleet.model.attempt import Answer, Failure, FailureKind, Usage
from fleet.model.delivery import Delivery, JobsOf
from fleet.model.job import Job, Lane, Plan
from fleet.model.reason import Reason
from fleet.model.result import Status
from policies.money import day_of
from queues.jetstream.stores.spend import accounts_of

NOW = 1_000.0
CLOUD = "gpt-4o"
REQUEST = {"model": CLOUD, "messages": [{"role": "user", "content": "All is well."}]}
ANSWER = Answer({"role": "assistant", "content": "positive"}, "stop", Usage(10, 2), "scripted")
DOWN = Failure(FailureKind.SERVER_ERROR, "down")
NO_CREDIT = Failure(FailureKind.ACCOUNT, "openai answered HTTP 429 (insufficient_quota)")
OWN_KEY = {"plan": Plan.OWN_KEY, "own_key": "openai/main"}


def a_case(number=1, **changes):
    job = Job(f"job-{number}", "acme", Lane.STANDARD, "chat", Plan.PAID, REQUEST, NOW)
    job = replace(job, **changes)
    return InFlightJob.of(Delivery(job, JobsOf(Lane.STANDARD), 1, NOW))


@pytest.fixture
def target(bench):
    return bench.rules.catalogue.targets[CLOUD]


@pytest.fixture
def state(bench):
    return FleetState([CLOUD], bench.rules)


@pytest.fixture
def tripped(state, target):
    """Its breaker has opened at NOW."""
    state.record(target, ANSWER, 60.0, NOW)
    for _ in range(5):
        state.record(target, DOWN, 60.0, NOW)
    return state


def slots(state, now):
    return state.free(CLOUD, now)[Lane.INTERACTIVE]


def test_an_open_breaker_lets_nothing_through_and_then_one_call(tripped):
    assert slots(tripped, NOW + 4.9) == 0
    assert slots(tripped, NOW + 5.1) == 1
    assert all(room <= 1 for room in tripped.rooms(Lane.INTERACTIVE, NOW + 5.1).values())
    tripped.traffic.started(CLOUD, [a_case()])
    assert slots(tripped, NOW + 5.1) == 0
    assert tripped.rooms(Lane.INTERACTIVE, NOW + 5.1) == {CLOUD: 0}
    assert tripped.view().targets[CLOUD].breaker.probing


def test_a_probe_that_answers_opens_the_target_for_all(tripped, target):
    probe = [a_case()]
    tripped.traffic.started(CLOUD, probe)
    tripped.record(target, ANSWER, 60.0, NOW + 6)
    tripped.traffic.ended(CLOUD, probe)
    assert slots(tripped, NOW + 6) == target.max_in_flight
    assert not tripped.view().targets[CLOUD].breaker.probing


def test_a_probe_that_fails_shuts_the_target_for_longer(tripped, target):
    tripped.record(target, DOWN, 60.0, NOW + 6)
    assert slots(tripped, NOW + 15.9) == 0
    assert slots(tripped, NOW + 16.1) == 1


KINDS = [FailureKind.CANCELLED, FailureKind.INVALID_REQUEST, FailureKind.CONTENT_FILTER, FailureKind.RATE_LIMITED, None]


@pytest.mark.parametrize("kind", KINDS)
def test_however_a_probe_ends_that_says_nothing_of_the_target_the_next_call_is_the_probe(tripped, target, kind):
    """None: its dispatcher gave it up without an outcome."""
    for number in range(3):
        probe = [a_case(number)]
        assert slots(tripped, NOW + 6) == 1
        tripped.traffic.started(CLOUD, probe)
        if kind is not None:
            tripped.record(target, Failure(kind, "no answer"), 60.0, NOW + 6)
        tripped.traffic.ended(CLOUD, probe)
    assert not tripped.view().targets[CLOUD].breaker.probing


def test_no_more_calls_that_cost_money_are_under_way_than_open_the_breaker_before_one_was_answered(state, target):
    cases = [a_case(number) for number in range(5)]
    assert slots(state, NOW) == 5
    state.traffic.started(CLOUD, cases)
    assert slots(state, NOW) == 0
    state.record(target, ANSWER, 60.0, NOW)
    assert slots(state, NOW) == target.max_in_flight - 5


def test_a_fault_of_the_account_shuts_the_target_at_once_and_for_long_but_not_for_tenants_keys(state, target, bench):
    with capture_logs() as lines:
        for _ in range(8):
            state.record(target, NO_CREDIT, 60.0, NOW)
    view = state.view().targets[CLOUD]
    assert view.breaker.open_until_at == NOW + bench.rules.breaker.max_seconds
    assert view.own_key_breaker.open_until_at == 0.0
    assert view.account_fault
    assert [(line["event"], line["target"], line["kind"]) for line in lines] == [("account_unusable", CLOUD, "account")]


def test_the_operator_is_not_told_again_until_it_has_worked_in_between(state, target):
    with capture_logs() as lines:
        state.record(target, NO_CREDIT, 60.0, NOW)
        state.record(target, NO_CREDIT, 60.0, NOW + 301)
        assert len(lines) == 1
        state.record(target, ANSWER, 60.0, NOW + 1_000)
        state.record(target, NO_CREDIT, 60.0, NOW + 1_001)
        assert len(lines) == 2
    assert not FleetState([CLOUD], state._rules).view().targets[CLOUD].account_fault


@pytest.mark.parametrize("outcome", [NO_CREDIT, DOWN, Failure(FailureKind.AUTHENTICATION, "no usable key")])
def test_what_goes_wrong_with_a_tenants_key_shuts_nothing(state, target, outcome):
    with capture_logs() as lines:
        for _ in range(8):
            state.record(target, outcome, 60.0, NOW, own_key=True)
    assert state.view().targets[CLOUD].breaker.open_until_at == 0.0
    assert lines == []


def test_an_answer_with_a_tenants_key_shows_that_the_target_works_and_nothing_of_the_fleets_account(tripped, target):
    tripped.record(target, NO_CREDIT, 60.0, NOW)
    tripped.record(target, ANSWER, 60.0, NOW + 6, own_key=True)
    view = tripped.view().targets[CLOUD]
    assert view.account_fault
    assert view.breaker.open_until_at > NOW + 6 >= view.own_key_breaker.open_until_at


def far():
    return {"request": REQUEST, "deadline_at": time.time() + 86_400.0}


async def test_at_every_opening_one_call_is_made_while_the_other_jobs_wait(bench):
    bench.rules = replace(bench.rules, retry=replace(bench.rules.retry, max_tries=50, max_attempts=50))
    backend = bench.backend(CLOUD, lambda call: DOWN)
    await bench.submit(60, lane=Lane.STANDARD, **far())
    async with bench.running() as dispatcher:
        state = dispatcher._parts.state
        while not state._breakers[CLOUD].trips:
            await state.next_change().wait()
        for _ in range(3):
            # Calls that were begun before it opened end first.
            while state.traffic.in_flight(CLOUD) or state._breakers[CLOUD].open_until_at <= bench.broker.now():
                await state.next_change().wait()
            backend.gate.clear()
            backend.begun.clear()
            bench.broker.ahead_seconds += 301
            bench.broker.wake()
            await backend.begun.wait()
            for _ in range(4):
                await state.next_change().wait()
            assert backend.running == 1
            backend.gate.set()


@pytest.mark.parametrize("kind", [FailureKind.ACCOUNT, FailureKind.AUTHENTICATION])
async def test_without_an_account_jobs_end_failed_for_no_money_and_after_few_calls(bench, kind):
    backend = bench.backend(CLOUD, lambda call: Failure(kind, "openai answered HTTP 429 (insufficient_quota)"))
    ids = await bench.submit(40, **{**far(), "deadline_at": time.time() + 60})
    async with bench.running():
        results = [await bench.result(job_id) for job_id in ids]
    assert {result.status for result in results} == {Status.FAILED}
    assert {result.reason for result in results} <= {Reason.ALL_FAILED, Reason.NO_TARGET}
    assert {result.cost_usd for result in results} == {0.0}
    assert len(backend.batches) <= 5 + 1
    account = (await accounts_of(bench.cells, day_of(bench.broker.now())))[None]
    assert (account.spent, account.open) == (0, {})


async def test_without_an_account_jobs_go_on_to_the_next_rung(bench, unsure, sure):
    bench.backend("llama-8b", unsure)
    for name, target in bench.rules.catalogue.targets.items():
        if target.is_cloud:
            bench.backend(name, lambda call: NO_CREDIT)
    bench.backend("llama-70b", sure)
    ids = await bench.submit(3, deadline_at=time.time() + 60)
    async with bench.running():
        results = [await bench.result(job_id) for job_id in ids]
    assert {result.status for result in results} <= {Status.SUCCEEDED, Status.BEST_EFFORT}


async def test_a_tenants_account_is_the_tenants_fault_and_shuts_the_target_for_nobody(bench):
    no_credit = replace(NO_CREDIT, detail=f"{NO_CREDIT.detail} to the tenant's own key")
    bench.backend(CLOUD, lambda call: ANSWER if call.own_key is None else no_credit)
    [own] = await bench.submit(**{**far(), **OWN_KEY})
    others = await bench.submit(3, lane=Lane.STANDARD, **far())
    async with bench.running():
        result = await bench.result(own)
        answered = [await bench.result(job_id) for job_id in others]
    assert (result.status, result.problem.field) == (Status.FAILED, "own_key")
    assert "the tenant's own key" in result.problem.message
    assert {each.status for each in answered} == {Status.SUCCEEDED}


async def test_the_fleets_account_does_not_keep_tenants_keys_from_the_target(bench):
    bench.backend(CLOUD, lambda call: NO_CREDIT if call.own_key is None else ANSWER)
    [first] = await bench.submit(**{**far(), "deadline_at": time.time() + 60})
    async with bench.running():
        assert (await bench.result(first)).status is Status.FAILED
        own = await bench.submit(5, lane=Lane.STANDARD, **{**far(), **OWN_KEY})
        results = [await bench.result(job_id) for job_id in own]
    assert {each.status for each in results} == {Status.SUCCEEDED}


def test_a_report_names_the_targets_that_are_shut_and_when_they_open(state, tripped):
    assert tripped.load("a1", NOW + 1, 0.0).shut == {CLOUD: NOW + 5}
    assert tripped.load("a1", NOW + 6, 0.0).shut == {}


def test_a_report_names_a_target_whose_account_is_no_good(state, target):
    state.record(target, NO_CREDIT, 60.0, NOW)
    assert set(state.load("a1", NOW + 1, 0.0).shut) == {CLOUD}
