"""One id, two bodies: whatever a publisher repeats or mixes up, the first one counts."""

from __future__ import annotations

import json
from dataclasses import replace

from patience import PATIENCE_SECONDS
from queue_rigs import Rig

from fleet.model.attempt import Answer, Usage
from fleet.model.delivery import Ack, JobsOf, Stored, WorkOf
from fleet.model.job import Job, Lane
from fleet.model.reason import Reason
from fleet.model.result import Result, Status, Work
from fleet.model.submission import Submission

BULK = JobsOf(Lane.BULK)
FIRST = Submission("job-000000000001", "nudge", {"messages": [{"role": "user", "content": "First."}]}, Lane.BULK)
SECOND = replace(FIRST, request={"messages": [{"role": "user", "content": "Second."}]})


def body(submission: Submission) -> bytes:
    return json.dumps({"id": submission.id, "task": submission.task, "request": submission.request}).encode()


async def test_a_desk_that_submits_an_id_twice_is_told_and_the_first_body_is_the_job(rig: Rig) -> None:
    desk = rig.desk("acme")

    assert await desk.submit([FIRST]) == [True]
    assert await desk.submit([SECOND]) == [False]

    [delivery] = await rig.queue.take(BULK, 10, PATIENCE_SECONDS)
    assert isinstance(delivery.body, Job)
    assert delivery.body.request == FIRST.request


async def test_another_tenants_job_of_the_same_id_is_another_job(rig: Rig) -> None:
    assert await rig.desk("acme").submit([FIRST]) == [True]
    assert await rig.desk("globex").submit([SECOND]) == [True]

    deliveries = await rig.queue.take(BULK, 10, PATIENCE_SECONDS)
    assert [delivery.body.tenant for delivery in deliveries] == ["acme", "globex"]


async def test_of_two_raw_messages_with_one_id_the_first_hand_over_and_the_first_result_count(rig: Rig) -> None:
    """Without `Nats-Msg-Id` the broker cannot tell that they are the same job; the ids the fleet makes can."""
    for submission in (FIRST, SECOND):
        await rig.inject("jobs.bulk.acme", body(submission))

    taken = await rig.queue.take(BULK, 10, PATIENCE_SECONDS)
    jobs = [delivery.body for delivery in taken]
    assert all(isinstance(job, Job) for job in jobs)
    stored = await rig.queue.publish([Work(job, "llama-8b", Reason.ROUTED) for job in jobs])
    await rig.queue.settle([Ack(delivery) for delivery in taken])

    assert stored == [Stored.NEW, Stored.REPEAT]
    [work] = await rig.queue.take(WorkOf("llama-8b", Lane.BULK), 10, PATIENCE_SECONDS)
    assert work.body.job.request == FIRST.request
    assert await rig.queue.publish([result("first"), result("second")]) == [Stored.NEW, Stored.REPEAT]
    kept = await rig.desk("acme").result(FIRST.id)
    assert kept is not None
    assert kept.answer is not None
    assert kept.answer.text == "first"


def result(text: str) -> Result:
    answer = Answer({"role": "assistant", "content": text}, "stop", Usage(1, 1), "m")
    return Result(FIRST.id, "acme", Status.SUCCEEDED, Reason.CONFIDENT, 5.0, answer=answer, target="llama-8b")
