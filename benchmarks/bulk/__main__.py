"""Runs a file of many rows as a batch, with an instant model, and kills what carries it at random moments.

The file is uploaded, and the batch made, followed and read, through the gateway with OpenAI's SDK; a client watches it
as well. The batch's output must be what an undisturbed run gives, which follows from the rows: each answered once. A
row may run twice only where a dispatcher was killed that had it in hand, or a broker that had just handed it out: at
most the rows in flight at each of these kills.

Prints the rows a second, the processor time per row, the resident memory of each process after a tenth, half and nine
tenths of the rows, and the state of the machine.

    python -m benchmarks.bulk [--rows 20000] [--kills 0] [--kill PROCESS] [--seed 1] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from benchmarks.bulk.door import Door
from benchmarks.bulk.rows import expected
from benchmarks.bulk.stage import KILLABLE, BulkStage
from benchmarks.report import show
from fleet import logs
from fleet.batches.settings import WINDOW

MARKS = (10, 50, 90)
"""Percentages of the rows after which the memory is read."""

LATE_SECONDS = 1.0
"""A kill comes at a random moment within so many seconds after its row, as rows are counted by the thousand."""


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
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        async with BulkStage(Path(folder)) as stage, Door(stage.gateway_url) as door:
            stage.start("gateway")
            began_at = time.perf_counter()
            batch_id = await door.submit(rows, Path(folder) / "rows.jsonl")
            uploaded_at = time.perf_counter()
            stage.start("runner")
            stage.watch(batch_id)
            asked = asyncio.create_task(door.ended(batch_id))
            schedule = _Schedule(stage, rows, seed, _moments(rows, kills, seed, killed))
            figures = await schedule.follow(batch_id)
            ended = await asked
            seconds = time.perf_counter() - uploaded_at
            figures |= {f"{name}_cpu_ms_per_row": stage.cpu_ms(name) / rows for name in KILLABLE[1:]}
            seen = await asyncio.to_thread(stage.client_saw)
            digest, twice = await door.digest(ended), stage.rows_run_twice()
    assert ended.status == seen["status"] == "completed", ended
    assert ended.request_counts is not None and ended.request_counts.completed == rows, ended
    assert str(digest) == str(expected(rows)), f"{digest}, not {expected(rows)}"
    harmful = schedule.kills["dispatcher"] + schedule.kills["broker"]
    assert twice <= WINDOW * harmful, f"{twice} rows ran twice"
    rates = {"upload_seconds": uploaded_at - began_at, "seconds": seconds, "rows_per_second": rows / seconds}
    kinds = {f"kills_of_{name}": schedule.kills[name] for name in KILLABLE}
    machine = {"processors": os.cpu_count() or 0, "load_before": load, "load_after": os.getloadavg()[0]}
    counts = {"kills": schedule.kills.total(), **kinds, "rows_run_twice": twice, "digest_is_equal": 1}
    return {"rows": rows, **rates, **figures, **counts, **machine}


def _moments(rows: int, kills: int, seed: int, killed: Sequence[str]) -> list[tuple[int, str]]:
    """Return after how many rows which process is killed, in their order; none at the very end."""
    rng = random.Random(seed)
    processes = [killed[number % len(killed)] for number in range(kills)]
    rng.shuffle(processes)
    return sorted((rng.randrange(rows * 19 // 20), process) for process in processes)


class _Schedule:
    """Kills and measures while a batch runs. `kills` counts those done."""

    def __init__(self, stage: BulkStage, rows: int, seed: int, moments: list[tuple[int, str]]) -> None:
        self.kills: Counter[str] = Counter()
        self._stage = stage
        self._rows = rows
        self._rng = random.Random(seed + 1)
        self._moments = moments

    async def follow(self, batch_id: str) -> dict[str, float]:
        """Return the memory of each process after each mark, once the batch has ended."""
        figures: dict[str, float] = {}
        marks = list(MARKS)
        async for done in self._done(batch_id):
            while marks and done * 100 >= self._rows * marks[0]:
                figures |= {f"{name}_rss_mb_{marks[0]}": self._stage.rss_mb(name) for name in KILLABLE}
                marks.pop(0)
            while self._moments and done >= self._moments[0][0] and done < self._rows:
                await asyncio.sleep(self._rng.random() * LATE_SECONDS)
                name = self._moments.pop(0)[1]
                await asyncio.to_thread(self._stage.kill, name)
                self.kills[name] += 1
        return figures

    async def _done(self, batch_id: str) -> AsyncIterator[int]:
        async for each in self._stage.batches.watch(batch_id):
            yield each.completed + each.failed


if __name__ == "__main__":
    main()
