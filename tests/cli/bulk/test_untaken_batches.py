"""Who watches a batch that nobody runs is told so."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from io import StringIO

import pytest
from patience import eventually

from fleet.cli.bulk import watch
from fleet.cli.bulk.views import facts
from fleet.cli.bulk.watch import UNTAKEN_SECONDS, Untaken, ended
from fleet.cli.output import Output
from fleet.model.batch import Batch, BatchStatus, Progress
from queues.batches import TenantBatches, TenantFiles

NOW = 1_800_000_000.0
WAITING = Batch("batch_" + "1" * 24, "acme", "/v1/chat/completions", "file-" + "2" * 24, 86_400.0, NOW)
TAKEN = replace(WAITING, progress=Progress(owner="runner", leased_until=NOW + 30))
ENDED = replace(WAITING, status=BatchStatus.COMPLETED)


@pytest.mark.parametrize("left", [WAITING, replace(TAKEN, progress=Progress(owner="runner", leased_until=NOW))])
def test_a_batch_that_nobody_runs_is_told_once_it_lasts(left: Batch) -> None:
    untaken = Untaken()
    seconds = (0.0, UNTAKEN_SECONDS - 0.1, UNTAKEN_SECONDS, UNTAKEN_SECONDS + 1)
    assert [untaken.note(left, NOW, at) for at in seconds] == [False, False, True, False]


@pytest.mark.parametrize("calm", [TAKEN, ENDED])
def test_a_batch_that_is_run_or_over_is_not_told(calm: Batch) -> None:
    untaken = Untaken()
    assert not any(untaken.note(calm, NOW, at) for at in (0.0, UNTAKEN_SECONDS, 2 * UNTAKEN_SECONDS))


def test_a_batch_that_is_left_again_is_told_again() -> None:
    untaken = Untaken()
    told = [untaken.note(WAITING, NOW, 0.0), untaken.note(WAITING, NOW, 10.0), untaken.note(TAKEN, NOW, 11.0)]
    assert [*told, untaken.note(WAITING, NOW, 12.0), untaken.note(WAITING, NOW, 22.0)] == [
        *(False, True, False),
        *(False, True),
    ]


async def test_a_watcher_is_told_while_it_waits(fake_app, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "UNTAKEN_SECONDS", 0.0)
    files, batches = TenantFiles(fake_app.shelf, "acme"), TenantBatches(fake_app.shelf, "acme")
    await batches.create(WAITING)
    told = StringIO()
    watching = asyncio.create_task(ended(files, batches, Output(False, stderr=told), WAITING.id))
    await eventually(lambda: "nobody runs this batch" in told.getvalue())
    await batches.update(ENDED, 1)
    assert (await watching).status is BatchStatus.COMPLETED


def test_status_says_who_runs_a_batch() -> None:
    assert next(iter(facts(WAITING, NOW).columns[1].cells)) == "nobody at this moment"
    assert next(iter(facts(TAKEN, NOW).columns[1].cells)) == "runner"
    assert "run by" not in list(facts(ENDED, NOW).columns[0].cells)
