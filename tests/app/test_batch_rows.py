"""What the process that runs batches makes of rows that are no jobs, and of a batch's end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from batch_fleet import BatchFleet, as_lines, openai_row

from fleet.model.batch import Batch, BatchStatus
from fleet.model.webhook import EventType
from fleet.webhooks.announcing import event_of_batch
from queues.wire.job import check_submission


async def test_a_row_that_a_dispatcher_would_refuse_fails_the_batch_before_anything_runs() -> None:
    fleet = BatchFleet()
    bad = openai_row(2, body={"messages": [{"role": "boss", "content": "Hello."}]})

    async with fleet.running(check=check_submission):
        batch = await fleet.ended(await fleet.submit(as_lines([openai_row(1), bad])))

    assert batch.status is BatchStatus.FAILED
    assert [problem.line for problem in batch.problems] == [2]
    assert fleet.jobs.jobs == []


@pytest.mark.parametrize("status", [status for status in BatchStatus if status.is_final])
def test_every_end_of_a_batch_is_an_event_with_its_time(status: BatchStatus) -> None:
    batch = Batch(f"batch_{'1' * 24}", "acme", "/v1/chat/completions", f"file-{'0' * 24}", 60.0, 1.0, status=status)

    event = event_of_batch(replace(batch, **{f"{status}_at": 9.0}))

    assert (event.type, event.object_id, event.at) == (EventType(f"batch.{status}"), batch.id, 9.0)
