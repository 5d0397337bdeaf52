"""A target that is too busy keeps the jobs it can answer in time; the others climb, and later ones come back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.dispatch.state import load
from fleet.model.job import CLOUD_DENY, Lane
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.submission import Submission

SMALL, LARGE, CLOUD = "llama-8b", "mixtral-8x7b", "groq-gpt-oss-120b"
JOBS = 100
ANSWER_SECONDS = 0.5


@pytest.fixture(autouse=True)
def reports_at_once(monkeypatch):
    monkeypatch.setattr(load, "REPORT_SECONDS", 0.01)


@pytest.fixture
def throttled(bench, sure, with_target):
    """Llama 8B answers two jobs a second by the broker's clock, which only its answers move."""

    def script(call):
        bench.broker.ahead_seconds += ANSWER_SECONDS
        return sure(call)

    with_target(SMALL, max_in_flight=4, batch_size=2)
    return bench.backend(SMALL, script)


async def results_of(bench, ids):
    return [await bench.result(job_id) for job_id in ids]


def by_target(results, target):
    return [result for result in results if result.target == target]


async def until_one_stays(bench, most=200):
    """Submit one job after the other until one is answered by the small target again."""
    request = {"messages": [{"role": "user", "content": "All is well."}]}
    for number in range(most):
        job = Submission(f"job-afterwards-{number:08d}", "classify.sentiment", request, Lane.INTERACTIVE)
        await bench.desk.submit([job])
        result = await bench.result(job.id)
        if result.target == SMALL:
            return result
    raise AssertionError(f"none of {most} came back")


async def test_interactive_jobs_climb_before_they_would_be_late_and_come_back_when_the_queue_has_drained(
    bench, sure, throttled
):
    """Half of them would be too late: 100 jobs take 50 seconds, and each has 30."""
    bench.backend(LARGE, sure)
    async with bench.running():
        results = await results_of(bench, await bench.submit(JOBS))
        assert {result.status for result in results} == {Status.SUCCEEDED}
        reported = await bench.loads.until(lambda each: bool(each.tokens_missed))
        back = await until_one_stays(bench)
    stayed, climbed = by_target(results, SMALL), by_target(results, LARGE)
    assert len(stayed) >= 20, "those it can answer in time stay"
    assert len(climbed) >= JOBS - 30 / ANSWER_SECONDS, "the others climb"
    assert {result.attempts[0].reason for result in stayed} == {Reason.ROUTED}
    assert {result.attempts[0].reason for result in climbed} == {Reason.OVERLOADED}
    assert set(reported.tokens_missed) == {SMALL}, "replicas are wanted where they climbed from"
    assert back.attempts[0].reason is Reason.ROUTED


async def test_bulk_jobs_with_hours_to_go_stay(bench, sure, throttled):
    bench.backend(LARGE, sure)
    async with bench.running():
        results = await results_of(bench, await bench.submit(JOBS, Lane.BULK))
    assert {(result.target, result.status) for result in results} == {(SMALL, Status.SUCCEEDED)}


async def test_what_may_not_leave_the_fleet_does_not_climb_out_of_it(bench, sure, throttled):
    cloud = bench.backend(CLOUD, sure)
    async with bench.running():
        results = await results_of(bench, await bench.submit(JOBS, cloud=CLOUD_DENY))
    assert cloud.batches == []
    assert {result.target for result in results} <= {SMALL, None}


async def test_jobs_climb_only_as_far_as_there_is_money(bench, sure, throttled):
    cloud = bench.backend(CLOUD, sure)
    bench.rules = replace(bench.rules, money=replace(bench.rules.money, daily_usd=0.005))
    async with bench.running():
        results = await results_of(bench, await bench.submit(JOBS))
    spent = sum(attempt.cost_usd for result in results for attempt in result.attempts)
    assert cloud.batches
    assert spent <= 0.005
    assert {result.status for result in results} <= {Status.SUCCEEDED, Status.EXPIRED}
