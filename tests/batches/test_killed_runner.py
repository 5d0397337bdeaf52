"""The process that runs batches, killed at every step of its work, with a real broker and a real dispatcher."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from patience import eventually

from benchmarks.bulk.rows import expected
from benchmarks.bulk.stage import BulkStage
from fleet import faults
from fleet.model.batch import BatchStatus

pytestmark = pytest.mark.e2e

ROWS = 1_500
STEPS = [name for name in faults.POINTS if name.startswith("batch.")]


@pytest.mark.parametrize("step", STEPS)
async def test_a_runner_that_is_killed_at_any_step_loses_no_row_and_runs_none_twice(step: str, tmp_path: Path) -> None:
    passage = 2 if step in ("batch.submitted", "batch.copied", "batch.saved") else 1
    async with BulkStage(tmp_path) as stage:
        batch = await stage.submit(ROWS)
        stage.start("runner", f"{step}=kill@{passage}")
        await eventually(lambda: stage.has_died("runner"))
        stage.start("runner")
        [*_, ended] = [each async for each in stage.batches.watch(batch.id)]
        digest, twice = await stage.digest(ended), stage.rows_run_twice()

    assert (ended.status, ended.completed, ended.failed) == (BatchStatus.COMPLETED, ROWS, 0)
    assert str(digest) == str(expected(ROWS)), "what an undisturbed run writes"
    assert twice == 0


async def test_whoever_dies_the_batch_is_what_an_undisturbed_one_is(tmp_path: Path) -> None:
    async with BulkStage(tmp_path) as stage:
        batch = await stage.submit(ROWS)
        stage.start("runner")
        left = ["broker", "dispatcher", "runner"]
        async for ended in stage.batches.watch(batch.id):
            if left and ended.completed >= ROWS * (4 - len(left)) // 5:
                await asyncio.to_thread(stage.kill, left.pop())
        digest = await stage.digest(ended)

    assert not left
    assert ended.status is BatchStatus.COMPLETED
    assert str(digest) == str(expected(ROWS))
