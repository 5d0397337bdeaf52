"""What the process that runs batches makes of rows that are no jobs, and of a batch's end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from batch_fleet import BatchFleet, as_lines, openai_row

from fleet.app.batches import check_of_rows
from fleet.app.worker import rules_of
from fleet.model.batch import Batch, BatchStatus
from fleet.model.job import JobOptions
from fleet.model.webhook import EventType
from fleet.settings.environment import load
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


RULES = rules_of(load())
UNKNOWN = {
    "task": openai_row(
        2, body={"messages": [{"role": "user", "content": "a"}], "metadata": {"task": "nudge.recogniton"}}
    ),
    "request.model": openai_row(2, body={"messages": [{"role": "user", "content": "a"}], "model": "gpt-9-omni"}),
    "above": {"task": "chat", "messages": [{"role": "user", "content": "a"}], "above": "llama-9b", "id": "row-2"},
    "cloud": {"task": "chat", "messages": [{"role": "user", "content": "a"}], "cloud": ["opanai"], "id": "row-2"},
}


@pytest.mark.parametrize("field", UNKNOWN)
async def test_what_the_rules_do_not_know_is_refused_by_line_before_anything_runs(field: str) -> None:
    fleet = BatchFleet()

    async with fleet.running(check=check_of_rows(RULES)):
        batch = await fleet.ended(await fleet.submit(as_lines([openai_row(1), UNKNOWN[field]])))

    assert batch.status is BatchStatus.FAILED
    [problem] = batch.problems
    assert (problem.line, problem.custom_id, problem.field) == (2, "row-2", field)
    assert "must be" in problem.rule
    assert fleet.jobs.jobs == []


async def test_with_keep_going_rows_that_the_rules_know_run() -> None:
    fleet = BatchFleet()

    async with fleet.running(check=check_of_rows(RULES)):
        batch = await fleet.ended(
            await fleet.submit(as_lines([openai_row(1), UNKNOWN["request.model"]]), keep_going=True)
        )
        [line] = await fleet.lines(batch.error_file_id)

    assert (batch.status, batch.completed, batch.failed) == (BatchStatus.COMPLETED, 1, 1)
    assert (line["error"]["code"], line["error"]["param"]) == ("invalid_line", "request.model")


@pytest.mark.parametrize(("plan", "status"), [("paid", BatchStatus.COMPLETED), ("free", BatchStatus.FAILED)])
async def test_a_row_is_checked_with_the_options_of_its_batch(plan: str, status: BatchStatus) -> None:
    fleet = BatchFleet()
    row = openai_row(1, body={"messages": [{"role": "user", "content": "a"}], "model": "claude-sonnet"})

    async with fleet.running(check=check_of_rows(RULES)):
        batch = await fleet.ended(await fleet.submit(as_lines([row]), defaults=JobOptions(plan=plan)))

    assert batch.status is status


@pytest.mark.parametrize("status", [status for status in BatchStatus if status.is_final])
def test_every_end_of_a_batch_is_an_event_with_its_time(status: BatchStatus) -> None:
    batch = Batch(f"batch_{'1' * 24}", "acme", "/v1/chat/completions", f"file-{'0' * 24}", 60.0, 1.0, status=status)

    event = event_of_batch(replace(batch, **{f"{status}_at": 9.0}))

    assert (event.type, event.object_id, event.at) == (EventType(f"batch.{status}"), batch.id, 9.0)
