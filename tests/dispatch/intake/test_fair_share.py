"""Tenants that share a lane, targets with no room, and what interactive jobs notice of either."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest
from patience import PATIENCE_SECONDS
from tenants import request_of, results_of, submit_as, until_depths

from fleet.dispatch.intake import asking, fair_lane, listening
from fleet.dispatch.state import state
from fleet.dispatch.state.traffic import QUEUED_PER_SLOT, Traffic
from fleet.model.attempt import Failure, FailureKind
from fleet.model.delivery import Depths, JobsOf, WorkOf
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.submission import Submission
from fleet.settings.documents import load_rules
from queues.memory import MemoryDesk, MemoryQueue

RULES = load_rules(None, None, "local")
TARGET = RULES.catalogue.targets["llama-8b"]
SMALL, LARGE, TOP = "llama-8b", "mixtral-8x7b", "llama-70b"


async def _submit_text(bench, tenant, text, count, model):
    request = request_of(text, model)
    submissions = [Submission(f"job-{tenant}-{n:010d}", "chat", request, Lane.BULK) for n in range(count)]
    await MemoryDesk(bench.broker, tenant).submit(submissions)
    return [submission.id for submission in submissions]


async def _until_running(bench, backend, jobs):
    while backend.running < jobs:
        await bench.broker.changed(WorkOf("none", Lane.BULK), timeout_seconds=0.01)


def _tenants(backend):
    return [call.request["messages"][-1]["content"] for calls in backend.batches for call in calls]


@pytest.mark.parametrize("lane", Lane)
async def test_another_tenants_backlog_delays_a_job_by_no_more_than_a_round(bench, sure, with_target, lane):
    with_target(SMALL, max_in_flight=4, batch_size=1)
    backend = bench.backend(SMALL, sure)
    await submit_as(bench, "acme", 600, lane)
    theirs = await submit_as(bench, "globex", 5, lane)
    async with bench.running():
        await results_of(bench, "globex", theirs)
        ours_before = _tenants(backend).index("globex")
    assert ours_before <= 2 * asking.WINDOW + QUEUED_PER_SLOT * 4


async def test_two_tenants_with_backlogs_are_served_alike(bench, sure, with_target):
    with_target(SMALL, max_in_flight=4, batch_size=1)
    backend = bench.backend(SMALL, sure)
    ids = await submit_as(bench, "acme", 500)
    await submit_as(bench, "globex", 500)
    async with bench.running():
        await results_of(bench, "acme", ids[:250])
        started = _tenants(backend)[:300]
    assert abs(started.count("acme") - started.count("globex")) <= 2 * asking.WINDOW


@pytest.mark.parametrize("lane", [Lane.INTERACTIVE, Lane.BULK])
async def test_the_backlog_stays_where_it_is_and_no_more_is_taken_than_can_soon_run(bench, sure, with_target, lane):
    with_target(SMALL, max_in_flight=8, batch_size=2)
    backend = bench.backend(SMALL, sure, open_gate=False)
    ids = await submit_as(bench, "acme", 3000, lane)
    most = QUEUED_PER_SLOT * 8
    async with bench.running():
        await until_depths(bench, lambda depths: depths.of_target(SMALL) >= (QUEUED_PER_SLOT - 1) * 8)
        seen = [bench.broker.depths().of_target(SMALL)]
        await submit_as(bench, "globex", 10, lane)
        await backend.begun.wait()
        seen.append(bench.broker.depths().of_target(SMALL))
        backend.gate.set()
        for done in ids[:200]:
            await results_of(bench, "acme", [done])
            seen.append(bench.broker.depths().of_target(SMALL))
    assert max(seen) <= most
    assert bench.broker.depths().jobs[JobsOf(lane, "acme")] > 2000


async def test_a_full_target_keeps_no_jobs_from_another_one(bench, sure, with_target):
    with_target(SMALL, max_in_flight=2, batch_size=1)
    bench.backend(SMALL, sure, open_gate=False)
    bench.backend(LARGE, sure)
    await submit_as(bench, "acme", 20, model=SMALL)
    ours = await submit_as(bench, "acme", 40, model=LARGE)
    await submit_as(bench, "globex", 500, model=SMALL)
    others = await submit_as(bench, "initech", 40, model=LARGE)
    async with bench.running():
        for result in [*await results_of(bench, "acme", ours), *await results_of(bench, "initech", others)]:
            assert (result.status, result.target) == (Status.SUCCEEDED, LARGE)
        assert bench.broker.depths().of_target(SMALL) <= QUEUED_PER_SLOT * 2


async def test_a_dead_target_keeps_no_jobs_from_another_one_and_its_own_wait_for_it(bench, sure, with_target):
    bench.rules = replace(bench.rules, breaker=replace(bench.rules.breaker, base_seconds=3600, max_seconds=3600))
    with_target(TOP, max_in_flight=1, batch_size=1)
    dead = bench.backend(TOP, lambda call: Failure(FailureKind.SERVER_ERROR, "out of order"))
    bench.backend(LARGE, sure)
    await submit_as(bench, "acme", 300, model=TOP)  # no other target here may have them
    async with bench.running():
        await until_depths(bench, lambda _: len(dead.batches) >= bench.rules.breaker.failures)
        others = await submit_as(bench, "globex", 300, model=LARGE)
        await results_of(bench, "globex", others)
    tried = len(dead.batches)
    assert tried <= bench.rules.breaker.failures + 3, "what was on its way already, and no more"
    assert bench.broker.depths().jobs[JobsOf(Lane.BULK, "acme")] >= 300 - asking.WINDOW - tried


async def test_a_dispatcher_with_free_slots_gets_work_though_others_have_theirs_full(bench, sure, with_target):
    with_target(SMALL, max_in_flight=4, batch_size=8)
    busy = bench.backend(SMALL, sure, open_gate=False)
    await submit_as(bench, "acme", 100)
    async with bench.running():
        await _until_running(bench, busy, 3)
        bench.backend(SMALL, sure)
        async with bench.running():
            while not bench.broker.stored("results"):
                await bench.broker.changed_once()
            assert busy.running == 3
        busy.gate.set()


async def test_what_is_held_goes_on_as_soon_as_there_is_room(bench, sure, with_target, monkeypatch):
    monkeypatch.setattr(fair_lane, "LOOK_AGAIN_SECONDS", 1e9)
    with_target(SMALL, max_in_flight=1, batch_size=1)
    backend = bench.backend(SMALL, sure, open_gate=False)
    bench.backend(LARGE, sure)
    ids = await submit_as(bench, "acme", 12, model=SMALL)
    async with bench.running():
        await backend.begun.wait()
        await results_of(bench, "acme", await submit_as(bench, "acme", 1, model=LARGE))
        backend.gate.set()
        await results_of(bench, "acme", ids)
    assert not bench.broker.depths().jobs


async def test_what_is_held_is_handed_back_at_the_end(bench, sure, with_target):
    with_target(SMALL, max_in_flight=1, batch_size=1)
    backend = bench.backend(SMALL, sure, open_gate=False)
    bench.backend(LARGE, sure)
    await submit_as(bench, "acme", 12, model=SMALL)
    async with bench.running() as dispatcher:
        await backend.begun.wait()
        await results_of(bench, "acme", await submit_as(bench, "acme", 1, model=LARGE))
        draining = asyncio.create_task(dispatcher.drain())
        await asyncio.sleep(0)
        backend.gate.set()
        await draining
    left = bench.broker.depths().jobs[JobsOf(Lane.BULK, "acme")]
    assert left == len(await bench.queue.take(JobsOf(Lane.BULK, "acme"), 50, 0.0)) > 0


async def test_a_held_job_is_answered_when_its_deadline_passes(bench, sure, with_target, monkeypatch):
    monkeypatch.setattr(fair_lane, "LOOK_AGAIN_SECONDS", 0.01)
    with_target(SMALL, max_in_flight=1, batch_size=1)
    backend = bench.backend(SMALL, sure, open_gate=False)
    bench.backend(LARGE, sure)
    ids = await submit_as(bench, "acme", 20, model=SMALL)
    async with bench.running():
        await backend.begun.wait()
        await results_of(bench, "acme", await submit_as(bench, "acme", 1, model=LARGE))
        bench.broker.ahead_seconds += 2 * bench.rules.deadlines.bulk_seconds
        result = (await results_of(bench, "acme", ids[-1:]))[0]
    assert (result.status, result.reason) == (Status.EXPIRED, Reason.DEADLINE_PASSED)


async def test_an_interactive_job_finds_a_slot_however_much_bulk_runs(bench, sure, with_target):
    with_target(SMALL, max_in_flight=16, batch_size=4, batch_wait_seconds=0.0)
    backend = bench.backend(SMALL, sure, open_gate=False)
    await submit_as(bench, "acme", 400)
    async with bench.running():
        await _until_running(bench, backend, 14)
        await submit_as(bench, "globex", 2, Lane.INTERACTIVE)
        await _until_running(bench, backend, 16)
        started = _tenants(backend)
    assert (started[:16].count("acme"), started[:16].count("globex")) == (14, 2)


async def test_an_interactive_job_of_a_new_tenant_does_not_wait_for_the_next_reading(bench, sure, monkeypatch):
    monkeypatch.setattr(state, "READ_SECONDS", 1e9)
    bench.backend(SMALL, sure)
    async with bench.running():
        for tenant in ("acme", "globex", "initech"):
            await results_of(bench, tenant, await submit_as(bench, tenant, 1, Lane.INTERACTIVE))


async def test_large_jobs_of_many_tenants_are_held_within_a_number_of_bytes_and_none_waits_for_ever(
    bench, sure, with_target, monkeypatch
):
    monkeypatch.setattr(asking, "HELD_BYTES", 200_000)
    with_target(SMALL, max_in_flight=1, batch_size=1, context_tokens=1_000_000)
    backend = bench.backend(SMALL, sure, open_gate=False)
    bench.backend(LARGE, sure)
    texts = {f"large-{n}": f"{n}" + 20_000 * "x" for n in range(12)}
    ids = {tenant: await _submit_text(bench, tenant, text, 10, SMALL) for tenant, text in texts.items()}
    async with bench.running() as dispatcher:
        await backend.begun.wait()
        await results_of(bench, "globex", await submit_as(bench, "globex", 40, model=LARGE))
        assert 100_000 < dispatcher._parts.leases.jobs_bytes <= 200_000 + 21_000
        backend.gate.set()
        for tenant, submitted in ids.items():
            await results_of(bench, tenant, submitted)


async def test_many_tenants_with_jobs_for_a_full_target_keep_nobody_from_another_one(
    bench, sure, with_target, monkeypatch
):
    for module in (fair_lane, asking):
        monkeypatch.setattr(module, "MOST_HOLDING", 4)
        monkeypatch.setattr(module, "STRANGERS_AT_ONCE", 2)
    monkeypatch.setattr(fair_lane, "HAND_BACK_SECONDS", 0.01)
    with_target(SMALL, max_in_flight=1, batch_size=1)
    backend = bench.backend(SMALL, sure, open_gate=False)
    bench.backend(LARGE, sure)
    blocked = {f"tenant-{n}": await submit_as(bench, f"tenant-{n}", 3, model=SMALL) for n in range(40)}
    async with bench.running():
        await backend.begun.wait()
        for tenant in ("globex", "initech"):
            await results_of(bench, tenant, await submit_as(bench, tenant, 5, model=LARGE))
        backend.gate.set()
        for tenant, ids in blocked.items():
            assert {result.status for result in await results_of(bench, tenant, ids)} == {Status.SUCCEEDED}


def test_a_tenant_whose_escalations_fill_a_target_is_kept_back_and_no_other():
    traffic = Traffic([replace(TARGET, max_in_flight=2)], RULES.estimates)
    work = WorkOf(TARGET.name, Lane.BULK)
    for tenants, kept in (
        ({"acme": 8}, set()),
        ({"acme": 9}, {"acme"}),
        ({"acme": 20, "globex": 2}, {"acme"}),
        ({"acme": 6, "globex": 5}, {"acme", "globex"}),
    ):
        traffic.read(Depths(work={work: sum(tenants.values())}, work_by_tenant={work: tenants}), traffic.moved())
        assert {tenant for tenant in tenants if traffic.overfills(tenant, Lane.BULK)} == kept
        assert not traffic.overfills("acme", Lane.STANDARD)
    traffic.taken(work, 0, more=False)
    traffic.read(Depths(work={work: 20}, work_by_tenant={work: {"acme": 20}}), traffic.moved())
    assert not traffic.overfills("acme", Lane.BULK), "all of it runs, at other dispatchers"


async def test_among_thousands_of_new_tenants_the_latest_is_among_the_next(bench, sure, with_target):
    with_target(SMALL, max_in_flight=16, batch_size=1)
    backend = bench.backend(SMALL, sure, open_gate=False)
    for n in range(1000):
        await submit_as(bench, f"tenant-{n}", 1)
    last = await submit_as(bench, "globex", 1)
    async with bench.running():
        await backend.begun.wait()
        backend.gate.set()
        await results_of(bench, "globex", last)
        assert len(bench.broker.stored("results")) < 300


async def test_first_looks_at_thousands_of_delayed_jobs_keep_no_tenant_waiting_that_has_jobs_to_run(
    bench, sure, with_target
):
    with_target(SMALL, max_in_flight=4, batch_size=1)
    bench.backend(SMALL, sure)
    queue, due_at = CountingQueue(bench.broker), bench.broker.now() + 1000
    for n in range(1000):
        delayed = Submission(f"job-delayed-{n:010d}", "chat", request_of("later"), Lane.BULK, not_before_at=due_at)
        await MemoryDesk(bench.broker, f"tenant-{n}").submit([delayed])
    ids = await submit_as(bench, "globex", 100)
    async with bench.running(queue):
        await results_of(bench, "globex", ids)
    turns = [n for n, tenant in enumerate(queue.asked) if tenant == "globex"]
    last = next(n for n in turns if queue.jobs_up_to("globex", n) == 100)
    gaps = [after - before for before, after in pairwise(n for n in turns if n <= last)]
    assert 0 < max(gaps) <= 2 * asking.MOST_ASKED


async def test_delayed_jobs_are_not_asked_for_before_they_are_due_and_run_then(bench, sure):
    bench.backend(SMALL, sure)
    queue, due_at = CountingQueue(bench.broker), bench.broker.now() + 1000
    for n in range(200):
        delayed = Submission(f"job-delayed-{n:010d}", "chat", request_of("later"), Lane.BULK, not_before_at=due_at)
        await MemoryDesk(bench.broker, f"tenant-{n}").submit([delayed])
    async with bench.running(queue) as dispatcher:
        await queue.until(lambda: len(queue.brought) >= 200)
        readings, before = dispatcher._parts.state.readings, len(queue.asked)
        while dispatcher._parts.state.readings < readings + 5:
            await bench.broker.changed_once()
        again = [tenant for tenant in queue.asked[before:] if tenant != "globex"]
        await results_of(bench, "globex", await submit_as(bench, "globex", 3))
        bench.broker.ahead_seconds += 1001
        bench.broker.wake()
        for n in range(200):
            [result] = await results_of(bench, f"tenant-{n}", [f"job-delayed-{n:010d}"])
            assert result.status is Status.SUCCEEDED
    assert len(again) <= 2 * listening.MOST_POLLS


class CountingQueue(MemoryQueue):
    """Remembers which tenants were asked for jobs, and which of them had any."""

    def __init__(self, broker):
        super().__init__(broker)
        self.asked, self.brought, self.came = [], set(), []

    async def take(self, source, limit, wait_seconds):
        deliveries = await super().take(source, limit, wait_seconds)
        if isinstance(source, JobsOf):
            self.asked.append(source.tenant)
            self.came.append(len(deliveries))
            self.brought |= {source.tenant} if deliveries else set()
        return deliveries

    def jobs_up_to(self, tenant, n):
        return sum(came for asked, came in zip(self.asked[: n + 1], self.came, strict=False) if asked == tenant)

    async def until(self, condition):
        while not condition():
            await self._broker.changed(WorkOf("none", Lane.BULK), 0.01)


# --- provider limits


async def test_a_provider_that_says_wait_is_left_alone_by_all_jobs_and_its_breaker_stays_closed(
    bench, sure, with_target
):
    with_target("gpt-4o", max_in_flight=1)
    answers = iter([Failure(FailureKind.RATE_LIMITED, "slow down", retry_after_seconds=9.0)])
    backend = bench.backend("gpt-4o", lambda call: next(answers, None) or sure(call))
    ids = await submit_as(bench, "acme", 6, model="gpt-4o")
    async with bench.running():
        await until_depths(
            bench, lambda depths: depths.work.get(WorkOf("gpt-4o", Lane.BULK), 0) >= QUEUED_PER_SLOT and backend.batches
        )
        bulk = await submit_as(bench, "globex", 1, Lane.INTERACTIVE, model="gpt-4o")
        await until_depths(bench, lambda depths: depths.work.get(WorkOf("gpt-4o", Lane.INTERACTIVE), 0) == 1)
        during = len(backend.batches)
        bench.broker.ahead_seconds += 10
        bench.broker.wake()
        results = [*await results_of(bench, "acme", ids), *await results_of(bench, "globex", bulk)]
    assert during == 1
    assert {(result.status, result.target) for result in results} == {(Status.SUCCEEDED, "gpt-4o")}


async def test_for_a_long_pause_jobs_go_to_the_next_target_at_once(bench, sure):
    limited = Failure(FailureKind.RATE_LIMITED, "come back tomorrow", retry_after_seconds=3600.0)
    bench.backend(SMALL, lambda call: limited)
    bench.backend(LARGE, sure)
    ids = await submit_as(bench, "acme", 6)
    async with bench.running():
        results = await results_of(bench, "acme", ids)
    assert {result.target for result in results} == {LARGE}


class StumblingQueue(MemoryQueue):
    """A queue with a bug that one long wait for jobs meets."""

    def __init__(self, broker):
        super().__init__(broker)
        self.stumbled = asyncio.Event()

    async def take(self, source, limit, wait_seconds):
        if source == JobsOf(Lane.STANDARD, "acme") and wait_seconds > 0 and not self.stumbled.is_set():
            self.stumbled.set()
            raise RuntimeError("a bug in waiting for jobs")
        return await super().take(source, limit, wait_seconds)


async def test_a_bug_met_while_waiting_for_a_tenants_jobs_does_not_keep_them_waiting_for_ever(bench, sure):
    bench.backend(SMALL, sure)
    queue = StumblingQueue(bench.broker)
    first = await submit_as(bench, "acme", 1, Lane.STANDARD)
    async with bench.running(queue):
        await results_of(bench, "acme", first)
        await asyncio.wait_for(queue.stumbled.wait(), PATIENCE_SECONDS)
        second = await submit_as(bench, "acme", 1, Lane.STANDARD, SMALL)
        [result] = await asyncio.wait_for(results_of(bench, "acme", second), PATIENCE_SECONDS)
    assert result.status is Status.SUCCEEDED
