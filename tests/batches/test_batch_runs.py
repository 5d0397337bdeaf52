"""A batch from its file to its end, with a broker and a fleet in this process."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from batch_fleet import ROWS, BatchFleet, as_lines, custom_ids, openai_row
from memory_fleet import echo, failed
from patience import PATIENCE_SECONDS, eventually

from fleet.model.batch import Batch, BatchStatus, Place, Progress, RowCount
from fleet.model.errors import InvalidJob
from fleet.model.job import Job, JobOptions
from fleet.model.reason import Reason
from fleet.model.result import Result, Status
from fleet.model.submission import Submission
from queues.batches import files


async def run(fleet: BatchFleet, content: bytes, **options: Any) -> Batch:
    async with fleet.running():
        return await fleet.ended(await fleet.submit(content, **options))


async def test_every_row_is_answered_once_and_counted() -> None:
    fleet = BatchFleet()

    batch = await run(fleet, as_lines(ROWS))

    assert batch.status is BatchStatus.COMPLETED
    assert (batch.total, batch.completed, batch.failed) == (20, 20, 0)
    assert (batch.usage.input_tokens, batch.usage.output_tokens) == (140, 60)
    assert batch.error_file_id is None
    lines = await fleet.lines(batch.output_file_id)
    assert custom_ids(lines) == custom_ids(ROWS)
    answers = {line["line"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in lines}
    assert answers == {number: f"Row {number}." for number in range(1, 21)}
    assert set(fleet.runs_of_rows().values()) == {1}
    assert [each.id for each in fleet.told] == [batch.id]
    assert batch.in_progress_at and batch.finalizing_at and batch.completed_at


async def test_what_has_come_is_readable_while_the_batch_runs() -> None:
    fleet = BatchFleet(lambda job: None if "Row 20." in str(job.request) else echo(job))
    async with fleet.running():
        batch = await fleet.submit(as_lines(ROWS))
        await eventually(lambda: len(fleet.jobs.jobs) == 20)
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for each in fleet.batches.watch(batch.id):
                if each.completed == 19:
                    break
        before = await fleet.lines(each.output_file_id)
        await fleet.jobs.publish(echo(next(job for job in fleet.jobs.jobs if "Row 20." in str(job.request))))
        ended = await fleet.ended(batch)

    after = await fleet.lines(ended.output_file_id)
    assert after[:19] == before, "what was read once never changes"
    assert len(after) == 20


async def test_rows_without_an_answer_are_in_a_file_of_their_own() -> None:
    fleet = BatchFleet(lambda job: failed(job) if "Row 7." in str(job.request) else echo(job))

    batch = await run(fleet, as_lines(ROWS))

    assert (batch.status, batch.completed, batch.failed) == (BatchStatus.COMPLETED, 19, 1)
    [line] = await fleet.lines(batch.error_file_id)
    assert (line["custom_id"], line["response"], line["error"]["code"]) == ("row-7", None, "failed")


async def test_rows_are_counted_by_status_and_reason_whoever_runs_the_batch() -> None:
    def ends(job: Job) -> Result:
        text = str(job.request)
        if "Row 7." in text:
            return failed(job)
        doubtful = replace(echo(job), status=Status.BEST_EFFORT, reason=Reason.OUT_OF_MONEY)
        return doubtful if "Row 1" in text else echo(job)

    fleet = BatchFleet(lambda job: None)
    batch = await fleet.submit(as_lines(ROWS) + b"{\n", keep_going=True)
    async with fleet.jobs.running():
        async with fleet.runs(window=5):
            await eventually(lambda: len(fleet.jobs.jobs) == 5)
            await fleet.jobs.publish(*map(ends, fleet.jobs.jobs[:2]))
            await eventually(lambda: len(fleet.jobs.jobs) == 7)
        answered = fleet.jobs.jobs[2:]
        fleet.jobs.answer = ends
        async with fleet.runs(window=5):
            await fleet.jobs.publish(*map(ends, answered))
            ended = await fleet.ended(batch)

    assert ended.outcomes == (
        RowCount("best_effort", "out_of_money", 11),
        RowCount("succeeded", "confident", 8),
        RowCount("failed", "all_failed", 1),
        RowCount("invalid_line", None, 1),
    )
    assert not ended.is_budget_spent


async def test_where_all_rows_fail_there_is_no_file_of_answers() -> None:
    fleet = BatchFleet(failed)

    batch = await run(fleet, as_lines(ROWS))

    assert (batch.status, batch.output_file_id, batch.failed) == (BatchStatus.COMPLETED, None, 20)
    assert len(await fleet.lines(batch.error_file_id)) == 20


BAD = {
    "no JSON": (b"{", "line"),
    "an array": (b"[1]", "line"),
    "NaN": (b'{"task": "a", "messages": [], "max_cost_usd": NaN}', "line"),
    "no UTF-8": (b'{"custom_id": "\xff"}', "line"),
    "no body": (json.dumps({k: v for k, v in openai_row(1).items() if k != "body"}).encode(), "body"),
    "another endpoint": (json.dumps(openai_row(99, url="/v1/embeddings")).encode(), "url"),
    "half a surrogate pair": (
        b'{"custom_id": "\\ud800", "method": "POST", "url": "/v1/chat/completions", "body": {}}',
        "custom_id",
    ),
    "an id that is there already": (json.dumps(openai_row(3)).encode(), "custom_id"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_line_that_is_no_job_fails_the_batch_before_anything_runs(name: str) -> None:
    line, field = BAD[name]
    fleet = BatchFleet()

    batch = await run(fleet, as_lines(ROWS) + line + b"\n")

    assert batch.status is BatchStatus.FAILED
    [problem] = batch.problems
    assert (problem.line, problem.byte, problem.field) == (21, len(as_lines(ROWS)), field)
    assert batch.problem_count == 1
    assert fleet.jobs.jobs == []
    assert batch.failed_at is not None


@pytest.mark.parametrize("name", BAD)
async def test_with_keep_going_the_good_rows_run_and_the_bad_one_is_told_of(name: str) -> None:
    line, field = BAD[name]
    fleet = BatchFleet()

    batch = await run(fleet, b"\n" + line + b"\r\n" + as_lines(ROWS), keep_going=True)

    assert (batch.status, batch.total, batch.completed, batch.failed) == (BatchStatus.COMPLETED, 21, 20, 1)
    refused = 5 if name.startswith("an id") else 2
    assert [(each.line, each.field) for each in batch.problems] == [(refused, field)]
    [error] = await fleet.lines(batch.error_file_id)
    assert (error["error"]["code"], error["line"]) == ("invalid_line", refused)
    assert len(fleet.jobs.jobs) == 20


async def test_a_row_that_the_fleet_would_refuse_is_told_why() -> None:
    def refuse(submission: Submission, tenant: str) -> None:
        if "Row 3." in str(submission.request):
            raise InvalidJob("body.messages", "is refused")

    fleet = BatchFleet()
    async with fleet.running(check=refuse):
        batch = await fleet.ended(await fleet.submit(as_lines(ROWS), keep_going=True))
        [row] = await fleet.lines(batch.error_file_id)
    assert (row["error"]["message"], row["custom_id"]) == ("body.messages: is refused", "row-3")


@pytest.mark.parametrize("content", [b"", b"\n\n \r\n"])
async def test_a_file_without_a_row_fails(content: bytes) -> None:
    batch = await run(BatchFleet(), content)

    assert batch.status is BatchStatus.FAILED
    assert [(each.line, each.field, each.rule) for each in batch.problems] == [(0, "input_file_id", "must have a row")]


async def test_a_file_that_is_not_there_fails_the_batch() -> None:
    batch = await run(BatchFleet(), b"", input_file_id=f"file-{'0' * 24}")

    assert (batch.status, batch.problems[0].rule) == (BatchStatus.FAILED, "must be a file of yours")


@pytest.mark.parametrize(
    ("asked", "status"), [(BatchStatus.VALIDATING, "failed"), (BatchStatus.CANCELLING, "cancelled")]
)
async def test_a_file_that_has_lost_a_part_ends_its_batch(
    monkeypatch: pytest.MonkeyPatch, asked: BatchStatus, status: str
) -> None:
    monkeypatch.setattr(files, "MISSING_PAUSE_SECONDS", 0.0)
    fleet = BatchFleet()
    batch = await fleet.submit(as_lines(ROWS), status=asked, total=20 if asked is BatchStatus.CANCELLING else 0)
    fleet.shelf.lose_chunks()
    async with fleet.running():
        ended = await fleet.ended(batch)

    assert ended.status == status
    assert [each.rule for each in ended.problems] == (
        ["must be there until the batch has ended"] if status == "failed" else []
    )


async def test_a_part_that_is_lost_while_rows_run_ends_the_batch_with_what_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "MISSING_PAUSE_SECONDS", 0.0)
    fleet = BatchFleet(lambda job: None)
    batch = await fleet.submit(as_lines(ROWS))
    async with fleet.running(window=5):
        await eventually(lambda: len(fleet.jobs.jobs) == 5)
    fleet.shelf.lose_chunks()
    async with fleet.running(window=5):
        ended = await fleet.ended(batch)

    assert (ended.status, ended.total) == (BatchStatus.FAILED, 20)


async def test_lines_may_end_as_on_windows_begin_with_a_mark_and_hold_any_character() -> None:
    fleet = BatchFleet()
    odd = openai_row(2, custom_id="\u2028\u0085ü")
    content = (
        b"\xef\xbb\xbf" + as_lines([openai_row(1)])[:-1] + b"\r\n\r\n" + json.dumps(odd, ensure_ascii=False).encode()
    )

    batch = await run(fleet, content)

    assert (batch.status, batch.completed) == (BatchStatus.COMPLETED, 2)
    assert custom_ids(await fleet.lines(batch.output_file_id)) == ["row-1", "\u2028\u0085ü"]


async def test_what_the_batch_says_of_all_rows_holds_for_those_that_say_nothing() -> None:
    fleet = BatchFleet()
    rows = [
        {"task": "nudge", "messages": [{"role": "user", "content": "a"}]},
        {"task": "nudge", "messages": [{"role": "user", "content": "b"}], "tier": "complex", "deadline_seconds": 5},
    ]

    await run(fleet, as_lines(rows), defaults=JobOptions(tier="simple", cloud="deny", deadline_seconds=60.0))

    first, second = sorted(fleet.jobs.jobs, key=lambda job: str(job.request))
    assert (first.tier, second.tier) == ("simple", "complex")
    assert first.cloud == second.cloud
    assert first.deadline_at is not None and second.deadline_at is not None
    assert first.deadline_at - second.deadline_at > 30


async def test_no_row_may_take_longer_than_its_batch() -> None:
    fleet = BatchFleet()

    batch = await run(fleet, as_lines(ROWS), completion_window_seconds=3600.0)

    assert {job.deadline_at for job in fleet.jobs.jobs} == {batch.expires_at}


@pytest.mark.parametrize("defaults", [{"tier": "huge"}, {"colour": "blue"}])
async def test_options_that_no_door_lets_in_fail_the_batch_and_no_other(defaults: dict[str, Any]) -> None:
    fleet = BatchFleet()
    async with fleet.running():
        bad = await fleet.submit(as_lines(ROWS), defaults=defaults)
        good = await fleet.submit(as_lines(ROWS))
        assert (await fleet.ended(bad)).status is BatchStatus.FAILED
        assert (await fleet.ended(good)).status is BatchStatus.COMPLETED


async def test_progress_that_no_runner_has_written_fails_the_batch() -> None:
    forged = Progress(3, "!", 10, Place(1, 1, 1))

    batch = await run(BatchFleet(), as_lines(ROWS), progress=forged, total=20, status=BatchStatus.IN_PROGRESS)

    assert batch.status is BatchStatus.FAILED


async def test_rows_go_in_the_order_that_is_asked_for() -> None:
    fleet = BatchFleet()
    async with fleet.running(order=lambda rows: range(len(rows) - 1, -1, -1)):
        await fleet.ended(await fleet.submit(as_lines(ROWS)))

    assert [job.request["messages"][0]["content"] for job in fleet.jobs.jobs] == [f"Row {n}." for n in range(20, 0, -1)]


async def test_no_more_rows_are_in_flight_than_the_window_has() -> None:
    fleet = BatchFleet(lambda job: None)
    async with fleet.running(window=3):
        batch = await fleet.submit(as_lines(ROWS))
        for answered in range(20):
            await eventually(lambda count=answered: len(fleet.jobs.jobs) > count)
            assert len(fleet.jobs.jobs) <= answered + 3
            await fleet.jobs.publish(echo(fleet.jobs.jobs[answered]))
        assert (await fleet.ended(batch)).completed == 20


async def test_all_rows_together_are_never_allowed_more_than_the_batch_may_cost() -> None:
    def spend_all(job: Job) -> Result:
        assert job.max_cost_usd is not None
        answered = echo(job)
        [attempt] = answered.attempts
        return replace(answered, attempts=(replace(attempt, cost_usd=job.max_cost_usd),))

    fleet = BatchFleet(spend_all)
    async with fleet.running(window=3):
        batch = await fleet.ended(await fleet.submit(as_lines(ROWS), max_cost_nano_usd=1_000_000_000))

    assert batch.completed == 20
    assert 990_000_000 <= batch.cost_nano_usd <= 1_000_000_000
