"""Measures what tenants notice of another one's backlog: how long their jobs wait for their first attempt to start.

Every round has a fresh server and dispatcher. B and C submit 10 interactive jobs each, again and again: first on an
idle fleet, then beside the `--backlog` bulk jobs that tenant A has queued. The bulk rate is measured with and without
them. Then B submits 10 bulk jobs, again and again. The model takes `--seconds` per micro-batch, so the targets are full
all the time and the dispatcher is not. The tenants' jobs are submitted by a process of their own.

The ratios compare figures of the same round; each is the median of the rounds, with the lowest and the highest. On a
machine that is busy otherwise they say nothing: there are none if the idle waits of the rounds differ too much.

A fair round is the time the fleet needs for one turn of each tenant and for what is on its way to the target already.

    python -m benchmarks.fairness [--backlog 100000] [--rounds 5] [--bursts 10] [--seconds 0.05] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.synchronize import Event

import psutil  # type: ignore[import-untyped]
import uvloop

from benchmarks.dispatch import BATCH, REQUEST, dispatching, rules_with, server
from benchmarks.instant import PacedBackend
from benchmarks.report import show
from fleet import logs
from fleet.app import apply_topology
from fleet.dispatch.state.traffic import QUEUED_PER_SLOT
from fleet.model.job import Lane
from fleet.model.result import Result
from fleet.model.submission import Submission
from policies.fairness.round_robin import TURN_JOBS, TURN_TOKENS
from policies.features.needs import tokens_of
from queues.jetstream import api
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.desk import JetStreamDesk

SLOTS = 64
MICRO_BATCH = 4
RULES = rules_with(SLOTS, MICRO_BATCH)
JOBS = 10
PAUSE_SECONDS = 0.3
ALONE_SECONDS = 3.0
"""Time for which the bulk rate without other jobs is measured, before the interactive jobs and again after them."""

COMPARABLE = 2.0
"""The most by which the idle waits of the rounds may differ: beyond it, the machine was busy otherwise."""


def main() -> None:
    arguments = _arguments()
    rounds = [_round(arguments.backlog, arguments.bursts, arguments.seconds) for _ in range(arguments.rounds)]
    show(figures_of(rounds), arguments.json)
    if not comparable(rounds):
        sys.exit(f"no ratios: idle waits differ more than {COMPARABLE:g} times between the rounds")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backlog", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bursts", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


RATIOS = {
    "interactive_ratio": ("interactive_p95_ms", "interactive_idle_p95_ms"),
    "interactive_max_ratio": ("interactive_max_ms", "interactive_idle_max_ms"),
    "bulk_kept": ("bulk_beside_per_second", "bulk_alone_per_second"),
    "bulk_fair_rounds": ("bulk_p95_ms", "fair_round_ms"),
}
"""The ratios by name: the figure above and the figure below, both of one round."""


def figures_of(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each figure over the rounds, and of each ratio, where there are any, the range as well."""
    figures = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    if comparable(rounds):
        for name, (above, below) in RATIOS.items():
            ratios = [each[above] / each[below] for each in rounds]
            figures[name] = statistics.median(ratios)
            figures[f"{name}_lowest"], figures[f"{name}_highest"] = min(ratios), max(ratios)
    return figures


def comparable(rounds: Sequence[Mapping[str, float]]) -> bool:
    """Return whether the idle waits of the rounds agree well enough to compare other waits with them."""
    idle = [each["interactive_idle_p95_ms"] for each in rounds]
    return max(idle) <= COMPARABLE * min(idle)


def _round(backlog: int, bursts: int, seconds: float) -> dict[str, float]:
    """Run both sides once, and return their figures with the share of the processors that others used meanwhile."""
    with server() as url:
        uvloop.run(apply_topology(url))
        with _dispatcher(url, seconds):
            others = Others()
            figures = uvloop.run(waits(url, backlog, bursts))
            return figures | {"others_cpu_share": others.cpu_share()}


@contextmanager
def _dispatcher(url: str, seconds: float) -> Iterator[None]:
    """Run a dispatcher in a process of its own."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    process = context.Process(target=_dispatch, args=(url, seconds, stop))
    process.start()
    try:
        yield
    finally:
        stop.set()
        process.join()


def _dispatch(url: str, seconds: float, stop: Event) -> None:
    async def until_stopped() -> None:
        async with dispatching(url, RULES, PacedBackend(seconds)):
            await asyncio.to_thread(stop.wait)

    logs.configure("WARNING")
    uvloop.run(until_stopped())


class Others:
    """The processor time of everything that is not part of the benchmark, from now on."""

    def __init__(self) -> None:
        self._started, self._used = time.monotonic(), self._seconds()

    def cpu_share(self) -> float:
        """Return the mean share of the machine's processors."""
        elapsed = time.monotonic() - self._started
        return (self._seconds() - self._used) / elapsed / (os.cpu_count() or 1)

    def _seconds(self) -> float:
        own = psutil.Process()
        ours = [each.cpu_times() for each in (own, *own.children(recursive=True))]
        machine = psutil.cpu_times()
        busy = sum(machine) - machine.idle - getattr(machine, "iowait", 0.0)
        ended = sum(each.children_user + each.children_system for each in ours)
        return float(busy - ended - sum(each.user + each.system for each in ours))


async def waits(url: str, backlog: int, bursts: int) -> dict[str, float]:
    """Return the waits in milliseconds, idle and beside the backlog, and the bulk jobs per second."""
    connection = await connect(url)
    tenants = [await JetStreamDesk.connect(url, name) for name in ("tenant-a", "tenant-b", "tenant-c")]
    a, b, c = tenants
    await _interactive(b, c, 2)  # tenants nobody knows are noticed with the next reading only
    idle = await _interactive(b, c, bursts)
    await _fill(a, backlog)
    alone = [await _bulk_rate(connection)]
    ended, started = await _results(connection), time.perf_counter()
    beside = await _interactive(b, c, bursts)
    rate = (await _results(connection) - ended - len(beside)) / (time.perf_counter() - started)
    alone.append(await _bulk_rate(connection))
    bulk = [wait for _ in range(bursts) for wait in await _waits(b, Lane.BULK)]
    for desk in tenants:
        await desk.close()
    await connection.close()
    return {
        "interactive_idle_p95_ms": _p95(idle),
        "interactive_p95_ms": _p95(beside),
        "interactive_idle_max_ms": max(idle),
        "interactive_max_ms": max(beside),
        "bulk_alone_per_second": statistics.mean(alone),
        "bulk_beside_per_second": rate,
        "bulk_p95_ms": _p95(bulk),
        "fair_round_ms": _fair_round_ms(rate),
    }


def _fair_round_ms(jobs_per_second: float) -> float:
    turns = 2 * max(1, min(TURN_JOBS, TURN_TOKENS // tokens_of(REQUEST, RULES.estimates)))
    return (turns + QUEUED_PER_SLOT * SLOTS) / jobs_per_second * 1000


def _p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[18]


async def _fill(desk: JetStreamDesk, jobs: int) -> None:
    for start in range(0, jobs, BATCH):
        await desk.submit([_job(Lane.BULK) for _ in range(min(BATCH, jobs - start))])


def _job(lane: Lane) -> Submission:
    deadline_at = time.time() + 24 * 3600
    return Submission(uuid.uuid4().hex, "classify.sentiment", REQUEST, lane=lane, deadline_at=deadline_at)


async def _bulk_rate(connection: Connection) -> float:
    """Return how many jobs per second end while there are only bulk jobs."""
    ended, started = await _results(connection), time.perf_counter()
    await asyncio.sleep(ALONE_SECONDS)
    return (await _results(connection) - ended) / (time.perf_counter() - started)


async def _results(connection: Connection) -> int:
    """Return how many jobs have ended."""
    return (await api.stream_info(connection, "RESULTS")).messages


async def _interactive(b: JetStreamDesk, c: JetStreamDesk, bursts: int) -> list[float]:
    """Run bursts of interactive jobs of both tenants, and return the waits of all in milliseconds."""
    found: list[float] = []
    for _ in range(bursts):
        for each in await asyncio.gather(_waits(b, Lane.INTERACTIVE), _waits(c, Lane.INTERACTIVE)):
            found += each
        await asyncio.sleep(PAUSE_SECONDS)
    return found


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
