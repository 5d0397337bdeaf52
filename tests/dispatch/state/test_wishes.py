"""What a dispatcher remembers of cancellations is bounded per tenant, and nothing forgotten is run for that."""

from __future__ import annotations

import asyncio

import pytest

from fleet.dispatch.maintenance import cancelling
from fleet.dispatch.maintenance.cancelling import Cancelling
from fleet.dispatch.state.wishes import Wishes
from fleet.model.cancellation import Cancellation
from fleet.model.delivery import JobsOf
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Result, Status
from queues.jetstream.stores.cancels import MemoryCancels
from queues.memory import MemoryDesk

JOBS = JobsOf(Lane.INTERACTIVE)


def wishes_of(tenant: str, count: int) -> list[Cancellation]:
    return [Cancellation(tenant, f"job-{number:012d}") for number in range(count)]


def test_a_tenant_with_many_wishes_forgets_its_own_only() -> None:
    wishes = Wishes(most=1000, most_of_tenant=10, kept_seconds=60.0)
    mine, theirs = wishes_of("globex", 5), wishes_of("acme", 100)
    for each in (*mine, *theirs):
        wishes.add(each, 1.0)
    assert [each for each in (*mine, *theirs) if each in wishes] == [*mine, *theirs[-10:]]
    assert (wishes.has_forgotten("acme"), wishes.has_forgotten("globex")) == (True, False)


def test_beyond_all_bounds_the_largest_tenant_forgets() -> None:
    wishes = Wishes(most=50, most_of_tenant=1000, kept_seconds=60.0)
    mine = wishes_of("globex", 5)
    for each in (*mine, *wishes_of("acme", 5000)):
        wishes.add(each, 1.0)
    assert all(each in wishes for each in mine)
    assert sum(each in wishes for each in wishes_of("acme", 5000)) <= 45


def test_among_many_tenants_room_for_many_wishes_is_made_at_once() -> None:
    """Else each further wish would look through all the tenants for the largest."""
    wishes = Wishes(most=1000, most_of_tenant=1000, kept_seconds=60.0)
    few = wishes_of("acme", 2)
    for each in (*few, *(wish for tenant in range(100) for wish in wishes_of(f"tenant-{tenant}", 10))):
        wishes.add(each, 1.0)
    left = sum(wish in wishes for tenant in range(100) for wish in wishes_of(f"tenant-{tenant}", 10))
    assert 850 <= left <= 910
    assert all(each in wishes for each in few)


def test_what_the_broker_keeps_no_longer_is_forgotten_for_good() -> None:
    wishes = Wishes(most=50, most_of_tenant=2, kept_seconds=60.0)
    for each in wishes_of("acme", 3):
        wishes.add(each, 1.0)
    wishes.expire(62.0)
    assert not wishes
    assert not wishes.has_forgotten("acme")


async def test_a_flood_of_invented_wishes_neither_revives_anothers_job_nor_leaves_a_result_for_each(
    bench, sure, with_target, monkeypatch
) -> None:
    monkeypatch.setattr(cancelling, "AHEAD_OF_JOBS", 10)
    monkeypatch.setattr(cancelling, "MOST_KEPT", 100)
    monkeypatch.setattr(cancelling, "MOST_OF_TENANT", 20)
    with_target("llama-8b", max_in_flight=1, batch_size=1)
    backend = bench.backend("llama-8b", sure, open_gate=False)
    first, second = await bench.submit(2)
    flooding = MemoryDesk(bench.broker, "globex")
    async with bench.running():
        await backend.begun.wait()
        await bench.desk.cancel(second)
        assert (await bench.result(second)).status is Status.CANCELLED
        for number in range(500):
            await flooding.cancel(f"flood-{number:020d}")
        last = await last_answer(bench, flooding)
        backend.gate.set()
        assert (await bench.result(first)).status is Status.SUCCEEDED
    assert sum(len(batch) for batch in backend.batches) == 1
    assert last <= 10


async def last_answer(bench, desk) -> int:
    """How many of the invented ones were answered once another wish of the same dispatcher has been."""
    await bench.desk.cancel("job-interactive-999999999999")
    await bench.result("job-interactive-999999999999")
    return sum([await desk.result(f"flood-{number:020d}") is not None for number in range(500)])


async def test_a_tenants_own_jobs_do_not_run_although_too_many_wishes_came_after(bench, sure, monkeypatch) -> None:
    """They are looked up, by result where it was answered and by the wish where it was not."""
    monkeypatch.setattr(cancelling, "AHEAD_OF_JOBS", 0)
    monkeypatch.setattr(cancelling, "MOST_OF_TENANT", 3)
    backend = bench.backend("llama-8b", sure)
    async with bench.running():
        ids = [f"job-interactive-{number:012d}" for number in range(10)]
        for job_id in ids:
            await bench.desk.cancel(job_id)
        await bench.submit(10)
        assert [(await bench.result(job_id)).status for job_id in ids] == [Status.CANCELLED] * 10
    assert backend.batches == []


class MadeRoom(MemoryCancels):
    """Has forgotten the wishes of all jobs that were submitted before it is read."""

    async def follow(self, told_all=lambda known_since: None):
        async for wishes in super().follow(lambda known_since: told_all(self._broker.now())):
            yield wishes


async def test_a_job_that_was_answered_before_the_dispatcher_started_is_not_run(bench, sure) -> None:
    """Whose wish the broker does not keep any more, or whose result another dispatcher has stored."""
    backend = bench.backend("llama-8b", sure)
    bench.cancels = MadeRoom(bench.broker)
    cancelled, done = await bench.submit(2, lane=Lane.STANDARD)
    await bench.queue.publish([Result(cancelled, "acme", Status.CANCELLED, Reason.CANCELLED, 1.0)])
    await bench.queue.publish([Result(done, "acme", Status.FAILED, Reason.ALL_FAILED, 1.0)])
    async with bench.running():
        while any((await bench.queue.depths()).jobs.values()) or any((await bench.queue.depths()).work.values()):
            await bench.broker.changed_once()
    assert backend.batches == []


class Unread(MemoryCancels):
    """Tells nothing until it may."""

    def __init__(self, broker) -> None:
        super().__init__(broker)
        self.may = asyncio.Event()

    async def follow(self, told_all=lambda known_since: None):
        await self.may.wait()
        async for wishes in super().follow(told_all):
            yield wishes


async def test_nothing_is_served_before_the_wishes_are_read(bench, sure) -> None:
    backend = bench.backend("llama-8b", sure)
    dispatcher = bench.dispatcher()
    parts = dispatcher._parts
    unread = Unread(bench.broker)
    parts.cancelling._cancels = unread
    [job_id] = await bench.submit()
    task = asyncio.create_task(dispatcher.run())
    while parts.state.readings < 3:
        await bench.broker.changed(JOBS, 0.05)
    assert (await bench.queue.depths()).jobs, "the job has not been taken"
    unread.may.set()
    assert (await bench.result(job_id)).status is Status.SUCCEEDED
    await dispatcher.drain()
    await task
    assert len(backend.batches) == 1


@pytest.mark.parametrize("deliveries", [1, 2])
def test_only_what_may_have_ended_unseen_is_looked_up(bench, deliveries) -> None:
    from fleet.dispatch.in_flight import InFlightJob
    from fleet.model.delivery import Delivery
    from fleet.model.job import Job, Plan

    held = Cancelling(MemoryCancels(bench.broker), bench.queue, bench.broker)
    job = Job(
        "job-0000000000000001",
        "acme",
        Lane.BULK,
        "classify.sentiment",
        Plan.PAID,
        {"messages": []},
        bench.broker.now() + 5.0,
    )
    case = InFlightJob.of(Delivery(job, JobsOf(Lane.BULK), deliveries, job.submitted_at))
    assert held.doubts(case), "nothing has been read yet"
    held._told_all(job.submitted_at)
    assert held.doubts(case), "its wish may have made room for others"
    held._told_all(None)
    held._told_all(job.submitted_at - 1.0)
    assert held.doubts(case) == (deliveries > 1)
    bench.broker.ahead_seconds += cancelling.KEPT_SECONDS + 10.0
    assert held.doubts(case), "its wish may have grown too old"
    held._told_all(None)
    assert held.doubts(case), "the connection broke"
