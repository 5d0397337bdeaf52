"""Jobs that run later, jobs that cannot make it, jobs that wait for long."""

from __future__ import annotations

import time

from fleet.model.attempt import Answer, Features, Usage
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Status


async def test_a_delayed_job_runs_when_its_time_has_come_and_not_before(bench, sure):
    backend = bench.backend("llama-8b", sure)
    later = time.time() + 7 * 3600.0
    [delayed] = await bench.submit(not_before_at=later)
    [other] = await bench.submit(lane=Lane.STANDARD)
    async with bench.running() as dispatcher:
        await bench.result(other)
        assert await bench.desk.result(delayed) is None
        while await bench.desk.result(delayed) is None:
            assert bench.broker.now() < later + 7200.0, "it must have run by then"
            assert len(backend.batches) == 1, "nothing runs before its time"
            bench.broker.ahead_seconds += 1800.0
            bench.broker.wake()
            readings = dispatcher._parts.state.readings  # of these it learns that the job is due
            while dispatcher._parts.state.readings < readings + 3 and await bench.desk.result(delayed) is None:
                await bench.broker.changed_once()
        result = await bench.result(delayed)
    assert (result.status, len(backend.batches)) == (Status.SUCCEEDED, 2)
    assert result.finished_at >= later


async def test_a_deadline_before_the_start_is_rejected_by_name(bench, sure):
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit(not_before_at=time.time() + 100, deadline_at=time.time() + 50)
    async with bench.running():
        result = await bench.result(job_id)
    assert (result.status, result.problem.field) == (Status.REJECTED, "deadline")


async def test_a_job_in_hand_is_answered_at_its_deadline_though_no_slot_is_free(bench, sure, with_target):
    with_target("llama-8b", max_in_flight=1, batch_size=1)
    backend = bench.backend("llama-8b", sure, open_gate=False)
    await bench.submit(lane=Lane.STANDARD)
    async with bench.running():
        await backend.begun.wait()
        [late] = await bench.submit(deadline_at=time.time() + 0.4)
        result = await bench.result(late)
        assert (result.status, result.reason) == (Status.EXPIRED, Reason.DEADLINE_PASSED)
        assert not backend.gate.is_set()
    assert len(backend.batches) == 1


async def test_a_job_is_given_up_early_where_its_like_take_far_longer(bench, sure):
    """Twenty answers that took ten minutes each; then a job with four minutes left, and one with an hour."""
    bench.backend("llama-8b", sure, open_gate=False)
    before = await bench.submit(20, Lane.BULK)
    async with bench.running():
        await bench.backends["llama-8b"].begun.wait()
        bench.broker.ahead_seconds += 600.0
        bench.backends["llama-8b"].gate.set()
        for job_id in before:
            await bench.result(job_id)
        now = bench.broker.now()
        hurried = (await bench.submit(21, Lane.BULK, deadline_at=now + 240.0))[20]
        result = await bench.result(hurried)
        assert (result.status, result.reason) == (Status.EXPIRED, Reason.DEADLINE_OUT_OF_REACH)
        assert result.finished_at < now + 240.0
        patient = (await bench.submit(22, Lane.BULK, deadline_at=now + 3600.0))[21]
        assert (await bench.result(patient)).status is Status.SUCCEEDED


async def test_an_answer_larger_than_a_message_is_delivered_all_the_same(bench):
    text = "word " * 600_000
    bench.backend("llama-8b", lambda call: answer(text))
    [job_id] = await bench.submit()
    async with bench.running():
        result = await bench.result(job_id)
    assert result.status is Status.SUCCEEDED
    assert result.answer.text == text
    assert bench.broker.stored("dead") == []


def answer(text: str) -> Answer:
    sure = Features(-0.01, -0.01, -0.01, -0.01, -0.01, 1, 5.0, 0.01)
    return Answer({"role": "assistant", "content": text}, "stop", Usage(10, 2), "scripted", sure)
