"""What goes wrong around one job, and what its neighbours notice of it: nothing."""

from __future__ import annotations

import asyncio

from fleet.dispatch.maintenance import orphans
from fleet.dispatch.state import peers
from fleet.model.attempt import Failure, FailureKind
from fleet.model.delivery import Stored
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Outbound, Result, Status, Work
from policies.resilience import delivery
from queues.memory import MemoryQueue
from queues.wire.letters import Message


async def test_work_nobody_can_read_fails_in_the_end_and_stops_nobody(bench, sure, monkeypatch):
    monkeypatch.setattr(delivery, "UNREADABLE_TRIES", 2)
    bench.backend("llama-8b", sure)
    bench.broker.store(Message("work.llama-8b.interactive.acme", b"from another version", {}))
    [job_id] = await bench.submit()
    async with bench.running():
        assert (await bench.result(job_id)).status is Status.SUCCEEDED
        bench.broker.end_leases()
        while not bench.broker.stored("dead"):
            await bench.broker.changed_once()
    assert b"from another version" in bench.broker.stored("dead")[0].data


class PickyQueue(MemoryQueue):
    """A broker that never takes the work of one job."""

    refuses = "job-interactive-000000000000"

    def store(self, outbound: Outbound, traceparent: str | None) -> Stored:
        is_refused = isinstance(outbound, Work) and outbound.job.id == self.refuses
        return Stored.REFUSED if is_refused else super().store(outbound, traceparent)


async def test_a_job_whose_letter_is_refused_fails_alone(bench, sure, unsure):
    bench.backend("llama-8b", unsure)
    bench.backend("mixtral-8x7b", sure)
    refused, neighbour = await bench.submit(2)
    async with bench.running(PickyQueue(bench.broker)):
        assert (await bench.result(neighbour)).status is Status.SUCCEEDED
        result = await bench.result(refused)
    assert (result.status, result.reason) == (Status.FAILED, Reason.INTERNAL_ERROR)
    assert len(bench.broker.stored("dead")) == 1


class BuggyQueue(MemoryQueue):
    """A queue with a bug that one result runs into, once."""

    bugs = 1

    def store(self, outbound: Outbound, traceparent: str | None) -> Stored:
        if self.bugs and isinstance(outbound, Result):
            self.bugs -= 1
            raise ZeroDivisionError
        return super().store(outbound, traceparent)


async def test_a_bug_in_a_step_keeps_no_slot_and_the_job_comes_back(bench, sure, with_target):
    with_target("llama-8b", max_in_flight=1, batch_size=1)
    backend = bench.backend("llama-8b", sure)
    ids = await bench.submit(3, Lane.STANDARD)
    queue = BuggyQueue(bench.broker)
    async with bench.running(queue):
        for job_id in ids[1:]:
            await bench.result(job_id)
        bench.broker.end_leases()
        await bench.result(ids[0])
    assert (queue.bugs, len(backend.batches)) == (0, 4)


async def test_a_near_deadline_does_not_shut_the_target_for_others(bench, sure, unsure):
    def timed_out(call):
        return Failure(FailureKind.TIMEOUT, "no answer in time") if call.timeout_seconds < 20 else sure(call)

    bench.backend("llama-8b", timed_out)
    hurried = await bench.submit(20, deadline_at=bench.broker.now() + 5)
    async with bench.running():
        for job_id in hurried:
            await bench.result(job_id)
        [patient] = await bench.submit(lane=Lane.STANDARD)
        result = await bench.result(patient)
    assert (result.status, result.target) == (Status.SUCCEEDED, "llama-8b")


async def test_work_for_a_target_nobody_serves_is_planned_anew(bench, sure, monkeypatch):
    monkeypatch.setattr(orphans, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(peers, "SERVED_SECONDS", 0.0)
    bench.backend("llama-8b", sure, open_gate=False)
    bench.backend("mixtral-8x7b", sure)
    [job_id] = await bench.submit(lane=Lane.STANDARD)
    first = bench.dispatcher()
    running = asyncio.create_task(first.run())
    await bench.backends["llama-8b"].begun.wait()
    running.cancel()  # it dies with the job in hand
    await asyncio.gather(running, return_exceptions=True)
    del bench.backends["llama-8b"]
    bench.broker.end_leases()
    async with bench.running():
        result = await bench.result(job_id)
    assert (result.status, result.target) == (Status.SUCCEEDED, "mixtral-8x7b")
