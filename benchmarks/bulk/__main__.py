"""Runs a file of many rows as a batch, with an instant model, and kills what carries it at random moments.

The batch's output must be what an undisturbed run gives, which follows from the rows: each answered once. A row may run
twice only where a dispatcher was killed that had it in hand, or a broker that had just handed it out. Prints the rows
a second, and the resident memory of each process after a tenth, half and nine tenths of the rows.

    python -m benchmarks.bulk [--rows 20000] [--kills 0] [--kill PROCESS] [--seed 1] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.bulk.rows import expected
from benchmarks.bulk.stage import KILLABLE, BulkStage
from benchmarks.report import show
from fleet import logs
from fleet.model.batch import Batch, BatchStatus

MARKS = (10, 50, 90)
"""Percentages of the rows after which the memory is read."""


def main() -> None:
    arguments = _arguments()
    logs.configure("CRITICAL")  # what is killed is missed
    figures = asyncio.run(run(arguments.rows, arguments.kills, arguments.seed, arguments.kill or KILLABLE))
    show(figures, arguments.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--kill", choices=KILLABLE, action="append", help="kill these only; repeatable")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


async def run(rows: int, kills: int, seed: int, killed: Sequence[str] = KILLABLE) -> Mapping[str, float]:
    """Return the figures of one run. Raises: AssertionError if a row is lost, doubled or answered otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        async with BulkStage(Path(folder)) as stage:
            began_at = time.perf_counter()
            batch = await stage.submit(rows)
            uploaded_at = time.perf_counter()
            stage.start("runner")
            figures = await _watched(stage, batch, rows, _moments(rows, kills, seed, killed))
            seconds = time.perf_counter() - uploaded_at
            [*_, ended] = [each async for each in stage.batches.watch(batch.id)]
            digest, wanted = await stage.digest(ended), expected(rows)
            twice = stage.rows_run_twice()
    assert ended.status is BatchStatus.COMPLETED, ended
    assert str(digest) == str(wanted), f"{digest}, not {wanted}"
    assert not twice or (kills and {*killed} != {"runner"}), f"{twice} rows ran twice"
    rates = {"upload_seconds": uploaded_at - began_at, "seconds": seconds, "rows_per_second": rows / seconds}
    return {"rows": rows, **rates, **figures, "kills": kills, "rows_run_twice": twice}


def _moments(rows: int, kills: int, seed: int, killed: Sequence[str]) -> list[tuple[int, str]]:
    """Return after how many rows which process is killed, in their order."""
    rng = random.Random(seed)
    processes = [killed[number % len(killed)] for number in range(kills)]
    rng.shuffle(processes)
    return sorted((rng.randrange(rows), process) for process in processes)


async def _watched(stage: BulkStage, batch: Batch, rows: int, moments: list[tuple[int, str]]) -> dict[str, float]:
    """Kill and measure while the batch runs, and return the memory."""
    figures: dict[str, float] = {}
    marks = list(MARKS)
    async for each in stage.batches.watch(batch.id):
        done = each.completed + each.failed
        while marks and done * 100 >= rows * marks[0]:
            figures |= {f"{name}_rss_mb_{marks[0]}": stage.rss_mb(name) for name in KILLABLE}
            marks.pop(0)
        while moments and done >= moments[0][0] and not each.status.is_final:
            await asyncio.to_thread(stage.kill, moments.pop(0)[1])
    return figures


if __name__ == "__main__":
    main()
