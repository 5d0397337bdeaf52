"""Measures what tenants notice of another one's backlog: how long their jobs wait for their first attempt to start.

Tenant A queues `--backlog` bulk jobs. Then B and C submit 10 interactive jobs each, and B 10 bulk ones, again and
again. The waits are compared with those of the same jobs on an idle fleet, in the same run. The model takes
`--seconds` per micro-batch, so the targets are full all the time and the dispatcher is not.

A fair round is the time the fleet needs for one turn of each tenant and for what is on its way to the target already.

    python -m benchmarks.fairness [--backlog 100000] [--rounds 10] [--seconds 0.05] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Collection, Sequence

from benchmarks.dispatch import BATCH, REQUEST, dispatching, measure, rules_with
from benchmarks.instant import ANSWER
from benchmarks.report import show
from fleet.app import apply_topology
from fleet.dispatch.state.traffic import QUEUED_PER_SLOT
from fleet.model.attempt import Outcome
from fleet.model.call import Call
from fleet.model.job import Lane
from fleet.model.result import Result
from fleet.model.submission import Submission
from policies.fairness.round_robin import TURN_JOBS, TURN_TOKENS
from policies.features.needs import tokens_of
from queues.jetstream.desk import JetStreamDesk

SLOTS = 64
MICRO_BATCH = 4
JOBS = 10
PAUSE_SECONDS = 0.3


class PacedBackend:
    """Answers a micro-batch after `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.answered = 0

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        await asyncio.sleep(self._seconds)
        self.answered += len(calls)
        yield [(index, ANSWER) for index in range(len(calls))]

    async def stop(self, ids: Collection[str]) -> None:
        pass

    async def close(self) -> None:
        pass


def main() -> None:
    arguments = _arguments()
    figures = measure(waits, arguments.backlog, arguments.rounds, arguments.seconds)
    show(figures, arguments.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backlog", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


async def waits(url: str, backlog: int, rounds: int, seconds: float) -> dict[str, float]:
    """Return waits in milliseconds at the 95th percentile, idle and beside the backlog, and their ratios."""
    await apply_topology(url)
    tenants = [await JetStreamDesk.connect(url, name) for name in ("tenant-a", "tenant-b", "tenant-c")]
    a, b, c = tenants
    backend, rules = PacedBackend(seconds), rules_with(SLOTS, MICRO_BATCH)
    async with dispatching(url, rules, backend):
        await _once(b, c)  # tenants nobody knows are noticed with the next reading only
        idle = [await _once(b, c) for _ in range(rounds)]
        await _fill(a, backlog)
        before, started = backend.answered, time.perf_counter()
        beside = [await _once(b, c) for _ in range(rounds)]
        rate = (backend.answered - before) / (time.perf_counter() - started)
    for desk in tenants:
        await desk.close()
    tokens = tokens_of(REQUEST, rules.estimates)
    turns = 2 * max(1, min(TURN_JOBS, TURN_TOKENS // tokens))
    fair_round_ms = (turns + QUEUED_PER_SLOT * SLOTS) / rate * 1000
    figures = {"backlog": float(backlog), "jobs_per_second": rate, "fair_round_ms": fair_round_ms}
    for kind in ("interactive", "bulk"):
        figures[f"{kind}_idle_p95_ms"] = _p95([wait for each in idle for wait in each[kind]])
        figures[f"{kind}_p95_ms"] = _p95([wait for each in beside for wait in each[kind]])
    figures["interactive_ratio"] = figures["interactive_p95_ms"] / figures["interactive_idle_p95_ms"]
    figures["bulk_fair_rounds"] = figures["bulk_p95_ms"] / fair_round_ms
    return figures


def _p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[18]


async def _fill(desk: JetStreamDesk, jobs: int) -> None:
    for start in range(0, jobs, BATCH):
        await desk.submit([_job(Lane.BULK) for _ in range(min(BATCH, jobs - start))])


def _job(lane: Lane) -> Submission:
    deadline_at = time.time() + 24 * 3600
    return Submission(uuid.uuid4().hex, "classify.sentiment", REQUEST, lane=lane, deadline_at=deadline_at)


async def _once(b: JetStreamDesk, c: JetStreamDesk) -> dict[str, list[float]]:
    """Run one round of both tenants, and return the waits of their jobs in milliseconds."""
    interactive = await asyncio.gather(_waits(b, Lane.INTERACTIVE), _waits(c, Lane.INTERACTIVE))
    bulk = await _waits(b, Lane.BULK)
    await asyncio.sleep(PAUSE_SECONDS)
    return {"interactive": [wait for each in interactive for wait in each], "bulk": bulk}


async def _waits(desk: JetStreamDesk, lane: Lane) -> list[float]:
    submissions = [_job(lane) for _ in range(JOBS)]
    submitted_at = time.time()
    await desk.submit(submissions)
    results = [await _result(desk, each.id) for each in submissions]
    return [(result.attempts[0].started_at - submitted_at) * 1000 for result in results]


async def _result(desk: JetStreamDesk, job_id: str) -> Result:
    while (result := await desk.result(job_id)) is None:  # noqa: ASYNC110  # polled, so that it costs the same idle and busy
        await asyncio.sleep(0.02)
    return result


if __name__ == "__main__":
    main()
