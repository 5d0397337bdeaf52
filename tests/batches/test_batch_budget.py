"""A batch that may cost only so much, with a broker and a fleet in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from batch_fleet import BatchFleet, as_lines, openai_row
from memory_fleet import echo
from patience import eventually

from fleet.batches.settings import RowPrice
from fleet.batches.wishes import cancel, retry_failed
from fleet.model.batch import Batch, BatchStatus, RowCount
from fleet.model.job import Job
from fleet.model.money import NanoUsd
from fleet.model.result import Result
from fleet.model.submission import Submission

ROWS = [openai_row(number) for number in range(1, 41)]
COST = 1_000
MOST = 3_000
REAL_COST = len(ROWS) * COST


def costing(nano: NanoUsd) -> Callable[[Job], Result]:
    def answer(job: Job) -> Result:
        answered = echo(job)
        [attempt] = answered.attempts
        return replace(answered, attempts=(replace(attempt, cost_usd=nano / 1e9),))

    return answer


async def prices() -> RowPrice:
    def price(submission: Submission, tenant: str) -> NanoUsd:
        return MOST

    return price


async def run(fleet: BatchFleet, max_cost: NanoUsd | None) -> Batch:
    async with fleet.running(prices=prices):
        return await fleet.ended(await fleet.submit(as_lines(ROWS), max_cost_nano_usd=max_cost))


async def answers(fleet: BatchFleet, batch: Batch) -> dict[int, str]:
    lines = await fleet.lines(batch.output_file_id)
    return {line["line"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in lines}


async def test_twice_of_what_the_rows_cost_changes_no_answer() -> None:
    unlimited, limited = BatchFleet(costing(COST)), BatchFleet(costing(COST))

    free, bounded = await run(unlimited, None), await run(limited, 2 * REAL_COST)

    assert (bounded.completed, bounded.failed) == (len(ROWS), 0)
    assert await answers(limited, bounded) == await answers(unlimited, free)
    assert all(round((job.max_cost_usd or 0) * 1e9) >= MOST for job in limited.jobs.jobs)


async def test_half_of_what_the_rows_cost_answers_about_half_of_them_and_spoils_none() -> None:
    fleet = BatchFleet(costing(COST))

    batch = await run(fleet, REAL_COST // 2)

    affordable = REAL_COST // 2 // COST
    assert affordable - MOST // COST <= batch.completed <= affordable
    assert batch.completed + batch.failed == batch.total == len(ROWS)
    assert batch.cost_nano_usd == batch.completed * COST <= REAL_COST // 2
    assert len(fleet.jobs.jobs) == batch.completed, "the others were never submitted"
    assert all(round((job.max_cost_usd or 0) * 1e9) >= MOST for job in fleet.jobs.jobs)
    assert (batch.status, batch.completed_at is not None) == (BatchStatus.COMPLETED, True)
    assert {line["error"]["code"] for line in await fleet.lines(batch.error_file_id)} == {"budget_spent"}
    assert batch.is_budget_spent
    assert sorted(batch.outcomes) == [
        RowCount("budget_spent", None, batch.failed),
        RowCount("succeeded", "confident", batch.completed),
    ]


async def test_a_budget_that_covers_no_row_runs_none() -> None:
    fleet = BatchFleet(costing(COST))

    batch = await run(fleet, MOST - 1)

    assert (batch.status, batch.completed, batch.failed) == (BatchStatus.COMPLETED, 0, len(ROWS))
    assert fleet.jobs.jobs == []


async def test_rows_wait_until_others_have_cost_less_than_they_might() -> None:
    fleet = BatchFleet(lambda job: None)
    async with fleet.running(prices=prices):
        batch = await fleet.submit(as_lines(ROWS), max_cost_nano_usd=2 * MOST)
        await eventually(lambda: len(fleet.jobs.jobs) == 2)
        await fleet.jobs.publish(costing(COST)(fleet.jobs.jobs[0]))
        await eventually(lambda: len(fleet.jobs.broker.stored("results")) == 1)
        assert len(fleet.jobs.jobs) == 2
        await fleet.jobs.publish(costing(COST)(fleet.jobs.jobs[1]))
        await eventually(lambda: len(fleet.jobs.jobs) == 3)
        await fleet.jobs.publish(costing(COST)(fleet.jobs.jobs[2]))
        fleet.jobs.answer = costing(COST)
        ended = await fleet.ended(batch)

    assert ended.completed == 4
    assert ended.cost_nano_usd <= 2 * MOST


async def test_a_batch_whose_rows_wait_for_money_can_be_cancelled() -> None:
    fleet = BatchFleet(lambda job: None)
    async with fleet.running(prices=prices):
        batch = await fleet.submit(as_lines(ROWS), max_cost_nano_usd=MOST)
        await eventually(lambda: len(fleet.jobs.jobs) == 1)
        await cancel(fleet.batches, batch.id, time.time())
        await eventually(lambda: len(fleet.jobs.broker.stored("cancels")) == 1)
        await fleet.jobs.publish(echo(fleet.jobs.jobs[0]))
        ended = await fleet.ended(batch)

    assert (ended.status, ended.completed, ended.failed) == (BatchStatus.CANCELLED, 1, len(ROWS) - 1)


async def test_what_the_budget_did_not_cover_can_be_run_later() -> None:
    fleet = BatchFleet(costing(COST))
    async with fleet.running(prices=prices):
        first = await fleet.ended(await fleet.submit(as_lines(ROWS), max_cost_nano_usd=REAL_COST // 2))
        again = await retry_failed(fleet.batches, first.id, time.time())
        assert again is not None
        second = await fleet.ended(again)

    assert second.total == first.failed
    assert second.completed > 0
    assert set(fleet.runs_of_rows().values()) == {1}
