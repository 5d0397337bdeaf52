"""Several runners, and one of several batches: each row runs once, and each end is told."""

from __future__ import annotations

import pytest
from batch_fleet import ROWS, BatchFleet, as_lines, custom_ids
from counted_jobs import series
from memory_fleet import echo
from patience import eventually

from fleet.app.batches import batch_metrics
from fleet.batches import runner as batch_runner
from fleet.model.batch import Batch, BatchStatus
from fleet.model.errors import QueueUnavailable


async def test_a_runner_tells_how_many_batches_it_runs() -> None:
    fleet = BatchFleet(lambda job: None)  # a fleet that answers nothing
    async with fleet.running() as runner:
        assert series(list(batch_metrics(runner))) == {("fleet.batches_running", ()): 0}
        for _ in range(2):
            await fleet.submit(as_lines(ROWS))
        await eventually(lambda: series(list(batch_metrics(runner))) == {("fleet.batches_running", ()): 2})
    assert runner.running == 0


async def test_another_runner_goes_on_where_one_has_handed_over() -> None:
    fleet = BatchFleet(lambda job: None)
    batch = await fleet.submit(as_lines(ROWS))
    async with fleet.jobs.running():
        async with fleet.runs(window=5):
            await eventually(lambda: len(fleet.jobs.jobs) == 5)
            await fleet.jobs.publish(*map(echo, fleet.jobs.jobs[:2]))
            await eventually(lambda: len(fleet.jobs.jobs) == 7)
        answered = fleet.jobs.jobs[2:]
        fleet.jobs.answer = echo
        async with fleet.runs(window=5):
            await fleet.jobs.publish(*map(echo, answered))
            ended = await fleet.ended(batch)

    assert (ended.completed, ended.failed) == (20, 0)
    assert custom_ids(await fleet.lines(ended.output_file_id)) == custom_ids(ROWS)
    assert set(fleet.runs_of_rows().values()) == {1}


async def test_a_row_that_waited_longer_than_the_broker_remembers_ids_is_not_submitted_again() -> None:
    fleet = BatchFleet(echo)
    fleet.jobs.broker._duplicate_window_seconds = 0.0
    batch = await fleet.submit(as_lines(ROWS))
    async with fleet.runs(window=5):
        await eventually(lambda: fleet.jobs.broker.depths().jobs.total() == 5)
    async with fleet.runs(window=5), fleet.jobs.running():
        ended = await fleet.ended(batch)

    assert ended.completed == 20
    assert set(fleet.runs_of_rows().values()) == {1}


async def test_a_batch_is_run_by_one_of_two_runners() -> None:
    fleet = BatchFleet()
    async with fleet.running(), fleet.runs():
        ended = [await fleet.ended(await fleet.submit(as_lines(ROWS))) for _ in range(3)]

    assert {each.completed for each in ended} == {20}
    assert set(fleet.runs_of_rows().values()) == {1}
    assert len(fleet.told) == 3


async def test_a_tenant_with_many_batches_that_never_end_keeps_no_other_tenant_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_runner, "MOST_RUNS", 3)
    monkeypatch.setattr(batch_runner, "MOST_RUNS_OF_TENANT", 2, raising=False)
    fleet = BatchFleet(lambda job: None if job.tenant == "acme" else echo(job))
    async with fleet.running() as runner:
        for _ in range(3):
            await fleet.submit(as_lines(ROWS))
        await eventually(lambda: runner.running >= 2)
        await fleet.submit(as_lines(ROWS), tenant="orbit")

        await eventually(lambda: [batch.tenant for batch in fleet.told] == ["orbit"])
        assert runner.running == 2


async def test_a_batch_whose_end_was_not_told_is_told_of() -> None:
    fleet = BatchFleet()
    batch = await fleet.submit(as_lines(ROWS), status=BatchStatus.COMPLETED, completed_at=5.0)

    async with fleet.running():
        await fleet.ended(batch)

    assert [each.id for each in fleet.told] == [batch.id]
    assert fleet.jobs.jobs == []


async def test_an_end_that_cannot_be_told_now_is_told_later_and_keeps_no_other_batch_waiting() -> None:
    fleet = BatchFleet()
    refusals = [QueueUnavailable("no room for events")] * 2

    async def full(batch: Batch) -> None:
        if refusals:
            raise refusals.pop()
        fleet.told.append(batch)

    fleet.announce = full
    async with fleet.running(lease_seconds=0.05):
        batch = await fleet.ended(await fleet.submit(as_lines(ROWS)))

    assert batch.status is BatchStatus.COMPLETED
    assert [each.id for each in fleet.told] == [batch.id]
    assert set(fleet.runs_of_rows().values()) == {1}
