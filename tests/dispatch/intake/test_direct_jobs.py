"""Jobs that their target can run at once run on the delivery they came in with, and are as safe as all others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.intake import direct
from fleet.dispatch.intake.direct import REMEMBERED_SECONDS
from fleet.model.attempt import Failure, FailureKind
from fleet.model.delivery import AnyDelivery, Committed, Depths, JobsOf, Retry, Source, Stored, Transition, WorkOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Outbound, Status, Work
from fleet.model.submission import Submission
from policies.rules.sections import Quota, QuotaRules
from queues.memory.queue import MemoryQueue

STANDARD = Lane.STANDARD
REQUEST = {"messages": [{"role": "user", "content": "All is well."}]}


class WatchedQueue(MemoryQueue):
    """Remembers all work that was stored."""

    def __init__(self, broker: Any) -> None:
        super().__init__(broker)
        self.work: list[Work] = []

    def store(self, outbound: Outbound, traceparent: str | None) -> Stored:
        if isinstance(outbound, Work):
            self.work.append(outbound)
        return super().store(outbound, traceparent)


@pytest.fixture
def queue(bench: Any) -> WatchedQueue:
    return WatchedQueue(bench.broker)


async def test_a_job_that_can_run_at_once_has_no_message_on_work(bench: Any, sure: Any, queue: WatchedQueue) -> None:
    bench.backend("llama-8b", sure)
    ids = await bench.submit(5, STANDARD)
    async with bench.running(queue):
        results = [await bench.result(job_id) for job_id in ids]
        while bench.broker.depths().jobs:
            await bench.broker.changed_once()
    assert {result.status for result in results} == {Status.SUCCEEDED}
    assert queue.work == []
    assert len(bench.ledger()) == 5


async def test_its_escalation_goes_over_work_with_the_attempt(
    bench: Any, sure: Any, unsure: Any, queue: WatchedQueue
) -> None:
    bench.backend("llama-8b", unsure)
    bench.backend("mixtral-8x7b", sure)
    [job_id] = await bench.submit(lane=STANDARD)
    async with bench.running(queue):
        result = await bench.result(job_id)
    assert [(work.target, len(work.attempts)) for work in queue.work] == [("mixtral-8x7b", 1)]
    assert [attempt.target for attempt in result.attempts] == ["llama-8b", "mixtral-8x7b"]


async def test_a_job_that_came_back_goes_over_work(bench: Any, sure: Any, queue: WatchedQueue) -> None:
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit(lane=STANDARD)
    [taken] = await bench.queue.take(JobsOf(STANDARD, "acme"), 1, 0.0)
    await bench.queue.settle([Retry(taken)])
    async with bench.running(queue):
        await bench.result(job_id)
    assert [work.target for work in queue.work] == ["llama-8b"]


async def test_a_paid_call_goes_over_work(bench: Any, sure: Any, queue: WatchedQueue) -> None:
    bench.backend("gpt-4o", sure)
    [job_id] = await bench.submit(lane=STANDARD)
    async with bench.running(queue):
        result = await bench.result(job_id)
    assert result.target == "gpt-4o"
    assert [work.target for work in queue.work] == ["gpt-4o"]


async def test_no_more_run_directly_than_the_target_has_free_slots(
    bench: Any, sure: Any, queue: WatchedQueue, with_target: Callable[..., None]
) -> None:
    with_target("llama-8b", max_in_flight=4, batch_size=2)
    backend = bench.backend("llama-8b", sure, open_gate=False)
    ids = await bench.submit(10, STANDARD)
    async with bench.running(queue):
        await backend.begun.wait()
        while len(queue.work) < 5:  # a slot is kept for interactive jobs, and eight are ready for four slots
            await bench.broker.changed_once()
        backend.gate.set()
        for job_id in ids:
            await bench.result(job_id)
    assert backend.most_running <= 3


async def test_a_job_does_not_overtake_work_that_waits(
    bench: Any, sure: Any, queue: WatchedQueue, with_target: Callable[..., None]
) -> None:
    with_target("llama-8b", max_in_flight=2, batch_size=1)
    backend = bench.backend("llama-8b", sure, open_gate=False)
    first = await bench.submit(4, STANDARD)
    async with bench.running(queue) as dispatcher:
        await backend.begun.wait()
        while not queue.work:
            await bench.broker.changed_once()
        traffic = dispatcher._parts.state.traffic
        assert traffic.is_queued("llama-8b", STANDARD) or len(dispatcher._parts.leases) > 1
        assert dispatcher._parts.direct.rooms(STANDARD, bench.broker.now())["llama-8b"] <= 0
        backend.gate.set()
        for job_id in first:
            await bench.result(job_id)


class DeadQueue(WatchedQueue):
    """That of a dispatcher that dies when it is about to store what follows from its jobs."""

    async def commit(self, transitions: Sequence[Transition]) -> Sequence[Committed]:
        return await asyncio.Future()


async def test_a_job_whose_dispatcher_dies_while_it_runs_has_one_result(
    bench: Any, sure: Any, queue: WatchedQueue
) -> None:
    backend = bench.backend("llama-8b", sure)
    [job_id] = await bench.submit(lane=STANDARD)
    dying = asyncio.create_task(bench.dispatcher(DeadQueue(bench.broker)).run())
    await backend.begun.wait()
    dying.cancel()
    await asyncio.wait((dying,))
    bench.broker.end_leases()
    async with bench.running(queue):
        result = await bench.result(job_id)
    assert result.status is Status.SUCCEEDED
    assert [work.target for work in queue.work] == ["llama-8b"]
    assert len(bench.broker.stored("results")) == 1


async def test_draining_hands_back_direct_jobs_that_have_not_begun(bench: Any, sure: Any, with_target: Any) -> None:
    with_target("llama-8b", batch_size=64, batch_wait_seconds=60.0)
    backend = bench.backend("llama-8b", sure, open_gate=False)
    [first] = await bench.submit(lane=Lane.INTERACTIVE)
    async with bench.running() as dispatcher:
        await backend.begun.wait()
        await bench.submit(3, STANDARD)
        held = dispatcher._parts.state.traffic.direct
        while held.of(WorkOf("llama-8b", STANDARD)) < 3:
            await bench.broker.changed_once()
        draining = asyncio.create_task(dispatcher.drain())
        while held.of(WorkOf("llama-8b", STANDARD)):
            await bench.broker.changed_once()
        backend.gate.set()
        await draining
    assert (await bench.desk.result(first)) is not None
    waiting = await bench.queue.take(JobsOf(STANDARD, "acme"), 10, 0.0)
    assert len(waiting) == 3


async def test_direct_jobs_count_for_quotas_room_and_reports(bench: Any, sure: Any) -> None:
    backend = bench.backend("llama-8b", sure, open_gate=False)
    await bench.submit(3, STANDARD)
    async with bench.running() as dispatcher:
        await backend.begun.wait()
        state, work = dispatcher._parts.state, WorkOf("llama-8b", STANDARD)
        while state.traffic.direct.of(work) < 3:
            await bench.broker.changed_once()
        now = bench.broker.now()
        assert state.traffic.in_flight_of("acme") == 3
        assert state.load("d", now, 0.0).direct == {work: 3}
        taken = state.traffic.room("llama-8b", STANDARD, now)
        backend.gate.set()
        while state.traffic.direct.of(work):
            await bench.broker.changed_once()
        assert state.traffic.room("llama-8b", STANDARD, now) == taken + 3
        assert state.traffic.in_flight_of("acme") == 0


async def test_a_direct_job_that_has_to_wait_waits_as_work(bench: Any, sure: Any, queue: WatchedQueue) -> None:
    outcomes = iter([Failure(FailureKind.CONNECTION, "for a moment")])
    bench.backend("llama-8b", lambda call: next(outcomes, None) or sure(call))
    [job_id] = await bench.submit(lane=STANDARD)
    async with bench.running(queue):
        result = await bench.result(job_id)
    assert result.status is Status.SUCCEEDED
    assert [(work.reason, len(work.attempts)) for work in queue.work] == [(Reason.BACKOFF, 1)]


async def _sent_again(bench: Any, job_id: str) -> None:
    """Store the job once more, as a publisher would that sends no message id."""
    broker = bench.broker
    broker._seen.clear()
    await bench.desk.submit([Submission(job_id, "classify.sentiment", REQUEST, lane=STANDARD)])


async def _until_read(bench: Any) -> None:
    while bench.broker.depths().jobs:
        await bench.broker.changed_once()


async def test_a_job_that_is_sent_twice_runs_once(bench: Any, sure: Any) -> None:
    backend = bench.backend("llama-8b", sure)
    [job_id] = await bench.submit(lane=STANDARD)
    async with bench.running():
        await bench.result(job_id)
        await _until_read(bench)
        await _sent_again(bench, job_id)
        await _until_read(bench)
    assert len(backend.batches) == 1


async def test_an_id_that_is_used_again_much_later_has_its_result(bench: Any, sure: Any, queue: WatchedQueue) -> None:
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit(lane=STANDARD)
    async with bench.running(queue):
        await bench.result(job_id)
        await _until_read(bench)
        _forget_results(bench)
        bench.broker.ahead_seconds += REMEMBERED_SECONDS
        await _sent_again(bench, job_id)
        assert (await bench.result(job_id)).status is Status.SUCCEEDED


async def test_a_job_that_is_sent_again_after_the_broker_lost_its_disk_has_its_result(bench: Any, sure: Any) -> None:
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit(lane=STANDARD)
    queue = FailingReadings(bench.broker)
    async with bench.running(queue):
        await bench.result(job_id)
        await _until_read(bench)
        queue.away = True
        await queue.failed.wait()
        _forget_results(bench)
        await _sent_again(bench, job_id)
        assert (await bench.result(job_id)).status is Status.SUCCEEDED


class FailingReadings(MemoryQueue):
    """That of a broker that is away for one reading."""

    away = False

    def __init__(self, broker: Any) -> None:
        super().__init__(broker)
        self.failed = asyncio.Event()

    async def depths(self) -> Depths:
        if self.away:
            self.away = False
            self.failed.set()
            raise QueueUnavailable("away")
        return await super().depths()


def _forget_results(bench: Any) -> None:
    """Have the broker forget every result, because they are old or its disk is gone."""
    broker = bench.broker
    broker._records.pop("results")
    for subject in [each for each in broker._last if each.startswith("results")]:
        del broker._last[subject]


@pytest.mark.parametrize("quota", [Quota(queued=5), Quota(in_flight=5)])
async def test_jobs_that_a_quota_counts_go_over_work_where_every_dispatcher_sees_them(
    bench: Any, sure: Any, queue: WatchedQueue, quota: Quota
) -> None:
    bench.rules = replace(bench.rules, quotas=QuotaRules(tenants={"acme": quota}))
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit(lane=STANDARD)
    async with bench.running(queue):
        await bench.result(job_id)
    assert [work.target for work in queue.work] == ["llama-8b"]


async def test_no_more_queues_have_direct_jobs_than_consumers_may_be_kept(
    bench: Any, sure: Any, queue: WatchedQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "MOST_QUEUES", 1)
    backend = bench.backend("llama-8b", sure, open_gate=False)
    async with bench.running(queue) as dispatcher:
        await bench.submit(1, STANDARD)
        await backend.begun.wait()
        await bench.submit(1, Lane.BULK)
        while not queue.work:
            await bench.broker.changed_once()
        assert dispatcher._parts.state.traffic.direct.queues == 1
    assert [work.job.lane for work in queue.work] == [Lane.BULK]


async def test_no_work_is_asked_for_where_direct_jobs_took_the_room_meanwhile(
    bench: Any, sure: Any, queue: WatchedQueue, with_target: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_target("llama-8b", max_in_flight=2, batch_size=1)
    bench.backend("llama-8b", sure)
    dispatcher = bench.dispatcher(queue)
    [runner], traffic = dispatcher._runners, dispatcher._parts.state.traffic
    await bench.submit(2, STANDARD)
    first, second = map(InFlightJob.of, await queue.take(JobsOf(STANDARD, "acme"), 2, 0.0))
    asked: list[int] = []

    async def direct_jobs_come(lane: Lane) -> None:
        traffic.started("llama-8b", [first])
        runner._buffer.put(lane, second, 0.0, 0.0)

    async def take(source: Source, limit: int, wait_seconds: float) -> Sequence[AnyDelivery]:
        asked.append(limit)
        return []

    monkeypatch.setattr(runner._collector._precedence, "give_way", direct_jobs_come)
    monkeypatch.setattr(queue, "take", take)
    assert await runner._collector._collect_once(STANDARD, asyncio.Event())
    assert asked == []
    assert not traffic.is_queued("llama-8b", STANDARD)
