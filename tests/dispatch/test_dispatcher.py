"""A job on its way through the dispatcher, on the in-process queue."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from patience import PATIENCE_SECONDS

from fleet.model.attempt import Answer, Failure, FailureKind, Usage
from fleet.model.delivery import JobsOf, Retry, Stored, WorkOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Outbound, Result, Status
from queues.memory import MemoryQueue
from queues.wire.letters import Message


async def test_a_confident_answer_becomes_the_one_result(bench, sure):
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit()
    async with bench.running():
        result = await bench.result(job_id)
    assert (result.status, result.reason, result.target) == (Status.SUCCEEDED, Reason.CONFIDENT, "llama-8b")
    assert result.answer.message["content"] == "positive"
    assert len(bench.broker.stored("results")) == 1


async def test_every_attempt_leaves_one_line_of_accounts(bench, sure, unsure):
    bench.backend("llama-8b", unsure)
    bench.backend("mixtral-8x7b", sure)
    [job_id] = await bench.submit()
    async with bench.running():
        await bench.result(job_id)
    lines = bench.ledger()
    assert [line["reason"] for line in lines] == ["low_confidence", "confident"]
    assert [line["status"] for line in lines] == [None, "succeeded"]


async def test_an_untrusted_answer_escalates_with_its_history(bench, sure, unsure):
    small = bench.backend("llama-8b", unsure)
    bench.backend("mixtral-8x7b", sure)
    [job_id] = await bench.submit()
    async with bench.running():
        result = await bench.result(job_id)
    assert [a.target for a in result.attempts] == ["llama-8b", "mixtral-8x7b"]
    assert [a.reason for a in result.attempts] == [Reason.ROUTED, Reason.LOW_CONFIDENCE]
    assert len(small.batches) == 1


async def test_the_best_answer_is_delivered_when_nobody_is_sure(bench, unsure):
    for target in ("llama-8b", "mixtral-8x7b", "llama-70b"):
        bench.backend(target, unsure)
    [job_id] = await bench.submit()
    async with bench.running():
        result = await bench.result(job_id)
    assert (result.status, result.reason) == (Status.BEST_EFFORT, Reason.LADDER_EXHAUSTED)


async def test_a_malformed_message_is_rejected_and_its_neighbour_succeeds(bench, sure):
    bench.backend("llama-8b", sure)
    bench.broker.store(Message("jobs.interactive.acme", b"not json", {"Nats-Msg-Id": "malformed-0123456789"}))
    [job_id] = await bench.submit()
    async with bench.running():
        assert (await bench.result(job_id)).status is Status.SUCCEEDED
        rejected = await bench.result("malformed-0123456789")
    assert (rejected.status, rejected.reason) == (Status.REJECTED, Reason.INVALID)
    assert rejected.problem.rule
    assert [b"not json" in m.data or b"bm90" in m.data for m in bench.broker.stored("dead")] == [True]


async def test_a_refused_job_leaves_a_dead_letter_that_holds_it(bench, sure):
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit(task="no.such.task")
    async with bench.running():
        result = await bench.result(job_id)
    assert (result.status, result.problem.field) == (Status.REJECTED, "task")
    [dead] = bench.broker.stored("dead")
    assert b"no.such.task" in dead.data


async def test_a_bug_met_by_one_job_fails_that_job_alone(bench):
    def script(call):
        if call.request["messages"][0]["content"] == "poison":
            return Answer(None, "stop", Usage(1, 1), "scripted", "no features")  # type: ignore[arg-type]
        return Failure(FailureKind.INVALID_REQUEST, "refused")

    bench.backend("llama-8b", script)
    [poisoned] = await bench.submit(request={"messages": [{"role": "user", "content": "poison"}]})
    [neighbour] = await bench.submit(lane=Lane.STANDARD)
    async with bench.running():
        broken = await bench.result(poisoned)
        assert (await bench.result(neighbour)).status is Status.REJECTED
    assert (broken.status, broken.reason) == (Status.FAILED, Reason.INTERNAL_ERROR)
    assert len(bench.broker.stored("dead")) >= 1


async def test_a_backend_that_raises_fails_the_attempt_not_the_job(bench, sure):
    def explode(call):
        raise RuntimeError("out of order")

    bench.backend("llama-8b", explode)
    bench.backend("mixtral-8x7b", sure)
    [job_id] = await bench.submit()
    async with bench.running():
        result = await bench.result(job_id)
    assert result.target == "mixtral-8x7b"
    assert {a.outcome.kind for a in result.attempts[:-1]} == {FailureKind.INTERNAL}


async def test_no_more_jobs_run_at_once_than_the_target_takes(bench, sure, with_target):
    with_target("llama-8b", max_in_flight=6, batch_size=4)
    backend = bench.backend("llama-8b", sure)
    ids = await bench.submit(40)
    async with bench.running():
        for job_id in ids:
            await bench.result(job_id)
    assert 1 <= backend.most_running <= 6
    assert max(map(len, backend.batches)) <= 4


async def test_a_micro_batch_holds_one_lane_and_interactive_goes_first(bench, sure, with_target):
    with_target("llama-8b", max_in_flight=1, batch_size=4)
    backend = bench.backend("llama-8b", sure, open_gate=False)
    [first] = await bench.submit(1, Lane.STANDARD)
    async with bench.running():
        await backend.begun.wait()
        bulk = await bench.submit(2, Lane.BULK)
        await _until_queued(bench, "llama-8b", 2)  # the first runs as a direct job
        urgent = await bench.submit(1, Lane.INTERACTIVE, request=_request("urgent"))
        await _until_queued(bench, "llama-8b", 3)
        backend.gate.set()
        for job_id in (first, *bulk, *urgent):
            await bench.result(job_id)
    assert backend.batches[1][0].request == _request("urgent")


async def test_draining_finishes_what_runs_and_hands_back_what_waits(bench, sure, with_target):
    with_target("llama-8b", max_in_flight=1, batch_size=1)
    backend = bench.backend("llama-8b", sure, open_gate=False)
    ids = await bench.submit(2)
    async with bench.running() as dispatcher:
        await backend.begun.wait()
        await _until_queued(bench, "llama-8b", 1)
        draining = asyncio.create_task(dispatcher.drain())
        await asyncio.sleep(0)
        backend.gate.set()
        await draining
    done = [job_id for job_id in ids if await bench.desk.result(job_id)]
    waiting = await bench.queue.take(WorkOf("llama-8b", Lane.INTERACTIVE), 10, 0.0)
    assert len(done) >= 1
    assert {d.body.job.id for d in waiting} == set(ids) - set(done)


async def test_a_step_the_broker_did_not_confirm_is_repeated_and_changes_nothing(bench, sure):
    class FlakyQueue(MemoryQueue):
        failures = 2

        def store(self, outbound: Outbound, traceparent: str | None) -> Stored:
            stored = super().store(outbound, traceparent)
            if isinstance(outbound, Result) and self.failures:
                self.failures -= 1
                bench.broker.end_leases()
                raise QueueUnavailable("the confirmation got lost")
            return stored

    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit(lane=Lane.STANDARD)
    queue = FlakyQueue(bench.broker)
    async with bench.running(queue):
        await bench.result(job_id)
        while queue.failures:
            await bench.broker.changed_once()
    assert queue.failures == 0
    assert len(bench.broker.stored("results")) == 1
    assert len(bench.ledger()) == 1


@pytest.mark.parametrize(("before", "status"), [(0, Status.SUCCEEDED), (1_100, Status.FAILED)])
async def test_a_job_that_keeps_coming_back_is_given_up(bench, sure, before, status):
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit()
    for _ in range(before):
        [delivery] = await bench.queue.take(JobsOf(Lane.INTERACTIVE), 1, PATIENCE_SECONDS)
        await bench.queue.settle([Retry(delivery)])
    async with bench.running():
        result = await bench.result(job_id)
    assert result.status is status


def _request(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


async def _until_queued(bench: Any, target: str, jobs: int) -> None:
    while bench.broker.depths().of_target(target) < jobs:
        await bench.broker.changed_once()
