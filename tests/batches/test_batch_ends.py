"""A batch that ends before its rows do, and one that is retried."""

from __future__ import annotations

import time

import pytest
from batch_fleet import ROWS, BatchFleet, as_lines, custom_ids
from memory_fleet import echo, failed
from patience import eventually

from fleet.batches.wishes import cancel, retry_failed
from fleet.model.batch import BatchStatus, RowCount
from fleet.model.errors import ConfigError


async def test_a_cancelled_batch_keeps_what_it_has_and_says_of_the_rest_that_it_was_cancelled() -> None:
    fleet = BatchFleet(lambda job: None)
    async with fleet.running(window=3):
        batch = await fleet.submit(as_lines(ROWS))
        await eventually(lambda: len(fleet.jobs.jobs) == 3)
        await fleet.jobs.publish(echo(fleet.jobs.jobs[0]))
        await eventually(lambda: len(fleet.jobs.jobs) == 4)
        await cancel(fleet.batches, batch.id, time.time())
        wished = await eventually(lambda: len(fleet.jobs.broker.stored("cancels")) == 3)
        assert wished
        await fleet.jobs.publish(*map(echo, fleet.jobs.jobs[1:]))
        ended = await fleet.ended(batch)

    assert (ended.status, ended.completed, ended.failed) == (BatchStatus.CANCELLED, 4, 16)
    errors = await fleet.lines(ended.error_file_id)
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
    assert len(errors) + len(await fleet.lines(ended.output_file_id)) == 20
    assert len(fleet.jobs.jobs) == 4, "nothing more was submitted"
    assert ended.cancelled_at and ended.cancelling_at


async def test_a_batch_that_is_cancelled_before_it_runs_ends_with_nothing() -> None:
    fleet = BatchFleet()
    batch = await fleet.submit(as_lines(ROWS))
    await cancel(fleet.batches, batch.id, time.time())

    async with fleet.running():
        ended = await fleet.ended(batch)

    assert (ended.status, ended.total, ended.output_file_id, ended.error_file_id) == (
        BatchStatus.CANCELLED,
        0,
        None,
        None,
    )
    assert fleet.jobs.jobs == []


async def test_cancelling_twice_or_what_has_ended_changes_nothing() -> None:
    fleet = BatchFleet()
    batch = await fleet.submit(as_lines(ROWS))
    first = await cancel(fleet.batches, batch.id, 5.0)
    assert await cancel(fleet.batches, batch.id, 9.0) == first
    async with fleet.running():
        ended = await fleet.ended(batch)

    assert await cancel(fleet.batches, batch.id, 9.0) == ended
    assert await cancel(fleet.batches, f"batch_{'0' * 24}", 9.0) is None


async def test_a_batch_that_expires_says_so_of_every_row_without_a_result() -> None:
    fleet = BatchFleet(lambda job: None)
    clock = [time.time()]
    async with fleet.running(window=3, now=lambda: clock[0]):
        batch = await fleet.submit(as_lines(ROWS), completion_window_seconds=3600.0)
        await eventually(lambda: len(fleet.jobs.jobs) == 3)
        clock[0] += 3601.0
        await eventually(lambda: len(fleet.jobs.broker.stored("cancels")) == 3)
        await fleet.jobs.publish(*map(echo, fleet.jobs.jobs))
        ended = await fleet.ended(batch)

    assert (ended.status, ended.completed, ended.failed) == (BatchStatus.EXPIRED, 3, 17)
    assert ended.outcomes == (RowCount("batch_expired", None, 17), RowCount("succeeded", "confident", 3))
    assert {line["error"]["code"] for line in await fleet.lines(ended.error_file_id)} == {"batch_expired"}
    assert ended.expired_at == clock[0]


async def test_rows_that_do_not_end_keep_a_cancelled_batch_from_ending_for_a_while_only() -> None:
    fleet = BatchFleet(lambda job: None)
    clock = [0.0]
    async with fleet.running(window=3, monotonic=lambda: clock[0]):
        batch = await fleet.submit(as_lines(ROWS))
        await eventually(lambda: len(fleet.jobs.jobs) == 3)
        await cancel(fleet.batches, batch.id, time.time())
        await eventually(lambda: len(fleet.jobs.broker.stored("cancels")) == 3)
        clock[0] += 601.0
        ended = await fleet.ended(batch)

    assert (ended.status, ended.failed) == (BatchStatus.CANCELLED, 20)


async def test_retrying_runs_the_rows_without_an_answer_and_no_others() -> None:
    fleet = BatchFleet(lambda job: failed(job) if "7" in str(job.request) else echo(job))
    async with fleet.running():
        first = await fleet.ended(await fleet.submit(as_lines(ROWS), metadata={"night": "1"}))
        fleet.jobs.answer = echo
        before = len(fleet.jobs.jobs)
        again = await retry_failed(fleet.batches, first.id, time.time())
        assert again is not None
        second = await fleet.ended(again)

    assert (first.completed, first.failed) == (18, 2)
    assert (second.total, second.completed, second.failed, second.retries) == (2, 2, 0, first.id)
    assert custom_ids(await fleet.lines(second.output_file_id)) == ["row-17", "row-7"]
    assert [line["line"] for line in await fleet.lines(second.output_file_id)] == [7, 17]
    assert len(fleet.jobs.jobs) == before + 2
    assert second.metadata == {"night": "1"}


async def test_a_cancelled_batch_is_retried_from_where_it_was() -> None:
    fleet = BatchFleet(lambda job: None)
    async with fleet.running(window=3):
        first = await fleet.submit(as_lines(ROWS))
        await eventually(lambda: len(fleet.jobs.jobs) == 3)
        await cancel(fleet.batches, first.id, time.time())
        await eventually(lambda: len(fleet.jobs.broker.stored("cancels")) == 3)
        await fleet.jobs.publish(*map(echo, fleet.jobs.jobs))
        await fleet.ended(first)
        fleet.jobs.answer = echo
        again = await retry_failed(fleet.batches, first.id, time.time())
        assert again is not None
        second = await fleet.ended(again)

    assert (second.total, second.completed) == (17, 17)
    assert len(fleet.jobs.jobs) == 20, "no row ran twice"


async def test_a_line_that_is_no_job_is_not_retried() -> None:
    fleet = BatchFleet(lambda job: failed(job) if "Row 7." in str(job.request) else echo(job))
    async with fleet.running():
        first = await fleet.ended(await fleet.submit(as_lines(ROWS) + b"{\n", keep_going=True))
        fleet.jobs.answer = echo
        again = await retry_failed(fleet.batches, first.id, time.time())
        assert again is not None
        second = await fleet.ended(again)

    assert (first.failed, second.total, second.completed) == (2, 1, 1)


async def test_only_what_has_ended_and_lacks_answers_is_retried() -> None:
    fleet = BatchFleet()
    batch = await fleet.submit(as_lines(ROWS))
    with pytest.raises(ConfigError, match="has not ended"):
        await retry_failed(fleet.batches, batch.id, 9.0)
    async with fleet.running():
        await fleet.ended(batch)
    with pytest.raises(ConfigError, match="no row to retry"):
        await retry_failed(fleet.batches, batch.id, 9.0)
    assert await retry_failed(fleet.batches, f"batch_{'0' * 24}", 9.0) is None
