"""What every job queue makes of messages that strangers got wrong."""

from __future__ import annotations

import pytest
from patience import PATIENCE_SECONDS
from queue_rigs import Rig

from fleet.model.delivery import Ack, JobsOf, Stored, WorkOf
from fleet.model.errors import InvalidJob
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Malformed, Result, Status
from fleet.model.submission import Submission

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BULK = JobsOf(Lane.BULK)
REQUEST = {"messages": [{"role": "user", "content": "Remind me."}]}
FIRST = Submission("job-000000000001", "nudge", REQUEST, Lane.BULK)
LAST = Submission("job-000000000002", "nudge", REQUEST, Lane.BULK)


async def test_what_is_no_job_is_delivered_as_malformed_and_its_neighbours_as_jobs(rig: Rig) -> None:
    await rig.desk("acme").submit([FIRST])
    await rig.inject("jobs.bulk.acme", b'{"id": "job-of-mallory-1", "task": 5}')
    await rig.inject("jobs.bulk.globex", b"not JSON", {"Nats-Msg-Id": "globex.message-id-0000001"})
    await rig.desk("acme").submit([LAST])

    first, wrong, unreadable, last = await rig.queue.take(BULK, 10, PATIENCE_SECONDS)
    await rig.queue.settle([Ack(delivery) for delivery in (first, wrong, unreadable, last)])

    assert [first.body.id, last.body.id] == [FIRST.id, LAST.id]
    assert isinstance(wrong.body, Malformed)
    assert (wrong.body.job_id, wrong.body.tenant, wrong.body.lane) == ("job-of-mallory-1", "acme", Lane.BULK)
    assert (wrong.body.problem.field, wrong.body.body) == ("task", b'{"id": "job-of-mallory-1", "task": 5}')
    assert isinstance(unreadable.body, Malformed)
    assert (unreadable.body.job_id, unreadable.body.tenant) == ("message-id-0000001", "globex")
    assert await rig.queue.take(BULK, 10, 0) == []


async def test_what_is_no_work_is_delivered_as_malformed(rig: Rig) -> None:
    await rig.inject("work.llama-8b.bulk.acme", b'{"stream": "JOBS", "seq": 17}')

    [delivery] = await rig.queue.take(WorkOf("llama-8b", Lane.BULK), 10, PATIENCE_SECONDS)

    assert isinstance(delivery.body, Malformed)
    assert delivery.body.problem.field == "schema"


@pytest.mark.parametrize(
    "sent",
    ["", "a" * 60_000, TRACEPARENT.upper(), TRACEPARENT + "-00", f"{TRACEPARENT[:-1]}g", "00-äöü-b7ad6b7169203331-01"],
)
async def test_a_trace_that_is_none_is_not_carried_on(rig: Rig, sent: str) -> None:
    await rig.inject("jobs.bulk.acme", b"{}", {"traceparent": sent})

    [delivery] = await rig.queue.take(BULK, 10, PATIENCE_SECONDS)

    assert delivery.traceparent is None


async def test_a_tenant_that_is_no_name_is_answered_under_one_that_is(rig: Rig) -> None:
    body = b'{"id": "job-of-somebody-else"}'
    await rig.inject("jobs.bulk.ac$me", body)

    [delivery] = await rig.queue.take(BULK, 10, PATIENCE_SECONDS)
    malformed = delivery.body

    assert isinstance(malformed, Malformed)
    assert (malformed.tenant, malformed.problem.field, malformed.body) == ("invalid", "task", body)
    assert malformed.job_id.startswith("invalid-")
    rejected = Result(malformed.job_id, malformed.tenant, Status.REJECTED, Reason.INVALID, finished_at=5.0)
    assert await rig.queue.publish([rejected]) == [Stored.NEW]


@pytest.mark.parametrize("job_id", ["a b", "x.y.z", "short", "x inbox 0\r\n\r\nPUB pwned 2\r\nhi\r\nPUB foo", "*" * 20])
async def test_no_result_is_asked_for_under_what_cannot_be_an_id(rig: Rig, job_id: str) -> None:
    with pytest.raises(InvalidJob) as refused:
        await rig.desk("acme").result(job_id)
    assert refused.value.field == "id"
