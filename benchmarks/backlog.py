"""Works off a million small jobs, to see whether a dispatcher stays as fast, and its memory as small, to the end.

The jobs wait on their stream before the dispatcher starts, in a process of its own. It prints the resident memory at
the start, in the middle and at the end, and the jobs per second in each tenth of the run.

    python -m benchmarks.backlog [--jobs 1000000] [--tenants 4] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from itertools import pairwise

from benchmarks.dispatch import BATCH, dispatching, measure_on, resident_mb, rules_with, server, submission
from benchmarks.instant import InstantBackend
from benchmarks.report import show
from fleet.app import apply_topology
from fleet.model.job import Lane
from queues.jetstream.client.connection import connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.streams.topology import stream_sizes

TENTHS = 10


def main() -> None:
    arguments = _arguments()
    with server() as url:
        measure_on(url, fill, arguments.jobs, arguments.tenants)
        figures = measure_on(url, work_off, arguments.jobs)
    show(figures, arguments.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--tenants", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


async def fill(url: str, jobs: int, tenants: int) -> None:
    """Put the jobs on their stream, every tenant its share."""
    await apply_topology(url)
    desks = [await JetStreamDesk.connect(url, f"tenant-{number}") for number in range(tenants)]
    for number, start in enumerate(range(0, jobs, BATCH)):
        batch = [submission(Lane.BULK) for _ in range(min(BATCH, jobs - start))]
        await desks[number % tenants].submit(batch)
    for desk in desks:
        await desk.close()


async def work_off(url: str, jobs: int) -> dict[str, float]:
    watching = await connect(url)
    stream = watching.nats.jetstream()
    rss_mb, times = [resident_mb()], [time.perf_counter()]
    async with dispatching(url, rules_with(4 * BATCH), InstantBackend()):
        for tenth in range(1, TENTHS + 1):
            while (await stream_sizes(stream))["RESULTS"] < jobs * tenth // TENTHS:  # noqa: ASYNC110  # the broker announces no counts
                await asyncio.sleep(0.05)
            times.append(time.perf_counter())
            rss_mb.append(resident_mb())
    await watching.close()
    rates = [jobs / TENTHS / (after - before) for before, after in pairwise(times)]
    mean = jobs / (times[-1] - times[0])
    figures = {"jobs": float(jobs), "jobs_per_second": mean, "rss_start_mb": rss_mb[0]}
    figures |= {"rss_first_tenth_mb": rss_mb[1], "rss_middle_mb": rss_mb[TENTHS // 2], "rss_end_mb": rss_mb[-1]}
    figures |= {f"jobs_per_second_{number}": rate for number, rate in enumerate(rates, start=1)}
    figures["largest_deviation"] = max(abs(rate / mean - 1) for rate in rates)
    return figures


if __name__ == "__main__":
    main()
