"""Records runs of invented jobs on a local fleet of its own, for `fleet simulate --replay`.

Each run has jobs of its own, submitted all at once or evenly over time. A line is the result as it is on the wire,
without its message, with the lane and the plan of the job.

    python -m benchmarks.record_run OUT.jsonl [OUT2.jsonl ...] [--jobs 600] [--jobs-per-second 40]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from fleet.cli.connection import open_desk
from fleet.cli.demo.asked import jobs
from fleet.cli.demo.collect import collect
from fleet.cli.ops.running import started_apart
from fleet.cli.output import quiet
from fleet.model.feedback import Feedback
from fleet.model.result import Result
from fleet.model.submission import Submission
from fleet.ports import JobDesk
from fleet.settings.environment import load
from queues.wire.result import encode_result

FIRST_SEED = 71
DEADLINE_SECONDS = 280.0
_NOT_KEPT = ("message", "claim", "schema", "metadata", "tenant", "usage", "cost_usd", "model", "finish_reason", "error")
_NOT_KEPT_OF_ATTEMPTS = ("features", "cost_usd", "model", "finish_reason", "probe", "repeated", "reason", "number")


class PacedDesk:
    """A desk that submits jobs one after the other, `per_second`; otherwise it is the desk behind it."""

    def __init__(self, desk: JobDesk, per_second: float) -> None:
        self._desk, self._per_second = desk, per_second

    async def submit(self, submissions: Sequence[Submission]) -> Sequence[bool]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        stored: list[bool] = []
        for number, submission in enumerate(submissions):
            await asyncio.sleep(max(0.0, started + number / self._per_second - loop.time()))
            stored += await self._desk.submit([submission])
        return stored

    async def result(self, job_id: str) -> Result | None:
        return await self._desk.result(job_id)

    async def stored(self, job_ids: Sequence[str]) -> Sequence[Result | None]:
        return await self._desk.stored(job_ids)

    def announced(self) -> AsyncIterator[str]:
        return self._desk.announced()

    def results(self) -> AsyncIterator[Result]:
        return self._desk.results()

    async def cancel(self, job_id: str) -> None:
        await self._desk.cancel(job_id)

    async def give_feedback(self, feedback: Feedback) -> bool:
        return await self._desk.give_feedback(feedback)

    async def close(self) -> None:
        await self._desk.close()


def line_of(result: Result, submission: Submission) -> dict[str, Any]:
    """Return what the trace keeps of a job: no word of the request or the answer."""
    record: dict[str, Any] = json.loads(encode_result(result))
    kept = {name: value for name, value in record.items() if name not in _NOT_KEPT}
    kept["attempts"] = [
        {name: value for name, value in attempt.items() if name not in _NOT_KEPT_OF_ATTEMPTS}
        for attempt in record["attempts"]
    ]
    return kept | {"lane": submission.lane.value, "plan": submission.plan.value}


async def record(paths: Sequence[Path], count: int, per_second: float | None) -> None:
    with tempfile.TemporaryDirectory(prefix="fleet-record-") as folder, quiet(False, Path(folder) / "log") as output:
        async with started_apart(load(), Path(folder), output.progress) as (settings, _), open_desk(settings) as desk:
            paced = desk if per_second is None else PacedDesk(desk, per_second)
            for number, path in enumerate(paths):
                asked = jobs(count, FIRST_SEED + number, DEADLINE_SECONDS)
                collected = await collect(paced, asked, DEADLINE_SECONDS, lambda: None, 0.0)
                by_id = {one.submission.id: one.submission for one in asked}
                lines = [line_of(result, by_id[job_id]) for job_id, result in collected.results.items()]
                lines.sort(key=lambda line: (line["submitted_at"], line["id"]))
                path.write_text("".join(json.dumps(line) + "\n" for line in lines))
                output.say(f"{path}: {len(lines)} jobs in {collected.wall_seconds:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--jobs", type=int, default=600)
    parser.add_argument("--jobs-per-second", type=float)
    arguments = parser.parse_args()
    asyncio.run(record(arguments.paths, arguments.jobs, arguments.jobs_per_second))


if __name__ == "__main__":
    main()
