"""The quota of a tenant: what it holds back, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

from tenants import results_of, submit_as, until_depths

from fleet.model.delivery import JobsOf
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Status
from policies.rules.sections import Quota, QuotaRules

SMALL = "llama-8b"


def _quota(bench, **quota):
    bench.rules = replace(bench.rules, quotas=QuotaRules(tenants={"acme": Quota(**quota)}))


async def test_a_tenant_never_has_more_jobs_in_flight_than_its_quota_and_nothing_is_refused(bench, sure):
    _quota(bench, in_flight=3)
    backend = bench.backend(SMALL, sure)
    ids = await submit_as(bench, "acme", 40)
    other = await submit_as(bench, "globex", 40)
    seen = []
    async with bench.running():
        await results_of(bench, "globex", other)
        for job_id in ids:
            seen.append(bench.broker.depths().in_flight.get("acme", 0))
            await results_of(bench, "acme", [job_id])
    assert max(seen) <= 3
    assert backend.most_running > 3
    assert {result.status for result in await results_of(bench, "acme", ids)} == {Status.SUCCEEDED}


async def test_tokens_per_minute_hold_jobs_back_until_there_are_more(bench, sure):
    _quota(bench, tokens_per_minute=1000)
    bench.backend(SMALL, sure)
    ids = await submit_as(bench, "acme", 30)
    other = await submit_as(bench, "globex", 30)
    async with bench.running():
        await results_of(bench, "acme", ids[:10])
        await results_of(bench, "globex", other)
        left = bench.broker.depths().jobs[JobsOf(Lane.BULK, "acme")]
        bench.broker.ahead_seconds += 60
        await results_of(bench, "acme", ids[:20])
    assert left == 20
    assert bench.broker.depths().jobs[JobsOf(Lane.BULK, "acme")] == 10


async def test_jobs_beyond_the_quota_of_waiting_ones_are_refused_by_name_and_the_rest_are_done(
    bench, sure, with_target
):
    with_target(SMALL, max_in_flight=4, batch_size=1)
    _quota(bench, queued=100)
    backend = bench.backend(SMALL, sure, open_gate=False)
    other = await submit_as(bench, "globex", 150)
    ids = await submit_as(bench, "acme", 1000)
    async with bench.running():
        await until_depths(bench, lambda depths: depths.jobs.get(JobsOf(Lane.BULK, "acme"), 0) <= 100)
        backend.gate.set()
        results = await results_of(bench, "acme", ids)
        others = await results_of(bench, "globex", other)
    refused = [result for result in results if result.status is not Status.SUCCEEDED]
    assert {(result.status, result.reason, result.problem.field) for result in refused} == {
        (Status.REJECTED, Reason.OVER_QUOTA, "tenant")
    }
    assert 500 < len(refused) <= 900
    assert {result.status for result in others} == {Status.SUCCEEDED}
