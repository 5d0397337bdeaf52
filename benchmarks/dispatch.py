"""Measures what carrying a job costs: from its stream to its stored result, instant backend, one dispatcher process.

The ceiling is measured in the same run on the same kind of server: stock nats-py doing one stage and nothing else
(pull 256, publish 256 with ids, wait for every PubAck, acknowledge). A job here is checked, decided on before and
after its call, and leaves a ledger entry as well. In both, the jobs wait on the stream before the clock starts.
`traced` keeps every trace, `sampled` 10 % of them and those of notable jobs; both encode what they keep as for a
collector. `counted` counts everything that /metrics shows, `everything` is counted and sampled; `ratio_everything_on`
is that over all of it off.
The processor's time per job is that of the measured process; unlike the rates it hardly depends on what else runs.

    python -m benchmarks.dispatch [--jobs 20000] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats
import uvloop
from nats.js.api import ConsumerConfig
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from benchmarks.instant import HoldingBackend, InstantBackend
from benchmarks.report import show
from fleet import logs
from fleet.app import SystemClock, apply_topology
from fleet.dispatch.dispatcher import Dispatcher
from fleet.dispatch.garbage import spare_what_stays
from fleet.dispatch.state.knowledge import Learned
from fleet.model.job import Lane
from fleet.model.result import Result
from fleet.model.span import Sampling
from fleet.model.submission import Submission
from fleet.ports import Backend, Tracer
from fleet.settings.documents import load_rules
from fleet.telemetry.encoding import encoded
from fleet.telemetry.metrics.counts import JobCounts
from fleet.telemetry.tracing import OtelTracer, OtlpExporter
from policies.rules.rules import Rules
from queues.jetstream import api
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.stores.cache import JetStreamCache
from queues.jetstream.stores.calibrations import JetStreamCalibrations
from queues.jetstream.stores.cancels import JetStreamCancels
from queues.jetstream.stores.cells import JetStreamCells
from queues.jetstream.stores.spend import CellSpendBook
from queues.server.embedded import EmbeddedServer
from queues.wire.subjects import RESULTS

BATCH = 256
ROUNDS = 3
SAMPLED = 0.1
HELD_JOBS = 10_000
IDLE_JOBS = 400
REQUEST = {"messages": [{"role": "user", "content": "Classify the sentiment of this note: " + "all went well " * 8}]}


def main() -> None:
    arguments = _arguments()
    rounds = [_round(arguments.jobs) for _ in range(ROUNDS)]
    figures = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    figures["ratio"] = figures["jobs_per_second"] / figures["raw_jobs_per_second"]
    figures["ratio_traced"] = figures["traced_jobs_per_second"] / figures["raw_jobs_per_second"]
    figures["ratio_sampled"] = figures["sampled_jobs_per_second"] / figures["raw_jobs_per_second"]
    figures["ratio_counted"] = figures["counted_jobs_per_second"] / figures["jobs_per_second"]
    figures["ratio_everything_on"] = figures["everything_jobs_per_second"] / figures["jobs_per_second"]
    figures["ratio_cpu"] = figures["raw_cpu_us_per_job"] / figures["cpu_us_per_job"]
    figures["rss_mb"] = measure(held_rss_mb, HELD_JOBS)
    figures["idle_p50_ms"], figures["idle_p99_ms"] = measure(idle_latency_ms, IDLE_JOBS)
    show(figures, arguments.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _round(jobs: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    kinds: dict[str, tuple[Any, ...]] = {
        "raw_": (raw_rate, jobs),
        "": (fleet_rate, jobs),
        "traced_": (fleet_rate, jobs, 1.0),
        "sampled_": (fleet_rate, jobs, SAMPLED),
        "counted_": (fleet_rate, jobs, 0.0, True),
        "everything_": (fleet_rate, jobs, SAMPLED, True),
    }
    for kind, what in kinds.items():
        figures[f"{kind}jobs_per_second"], figures[f"{kind}cpu_us_per_job"] = measure(*what)
    return figures


def measure(what: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """Run one measurement in a fresh process against a fresh server."""
    with server() as url:
        return measure_on(url, what, *arguments)


def measure_on(url: str, what: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """Run one measurement in a fresh process against the server at `url`."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_in_process, what, url, *arguments).result()


def _in_process(what: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    logs.configure("WARNING")
    return uvloop.run(what(*arguments))  # type: ignore[arg-type]


@contextmanager
def server() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        started = EmbeddedServer(Path(folder))
        started.start()
        try:
            yield started.url
        finally:
            started.stop()


class Watch:
    """A stopwatch that starts when it is made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def rate(self, jobs: int) -> tuple[float, float]:
        """Return jobs per second, and microseconds of this process's processor time for each."""
        return jobs / (time.perf_counter() - self._wall), 1e6 * (time.process_time() - self._cpu) / jobs


async def raw_rate(url: str, jobs: int) -> tuple[float, float]:
    """Measure the bare cycle with stock nats-py; see `Watch.rate`."""
    connection = await nats.connect(url)
    stream = connection.jetstream()
    await stream.add_stream(name="IN", subjects=["in.>"], retention="workqueue")
    await stream.add_stream(name="OUT", subjects=["out.>"])
    await _publish_raw(stream, jobs)
    config = ConsumerConfig(max_ack_pending=10 * BATCH)
    pull = await stream.pull_subscribe("in.>", durable="raw", config=config)
    watch = Watch()
    done = 0
    while done < jobs:
        messages = await pull.fetch(BATCH)
        await asyncio.gather(*(_raw_result(stream, m.data) for m in messages))
        for message in messages:
            await message.ack()
        done += len(messages)
    await connection.flush()
    rate = watch.rate(jobs)
    await connection.close()
    return rate


async def _raw_result(stream: Any, data: bytes) -> None:
    await stream.publish("out.a", data, headers={"Nats-Msg-Id": uuid.uuid4().hex})


async def _publish_raw(stream: Any, jobs: int) -> None:
    body = b"x" * 300
    for _ in range(0, jobs, BATCH):
        await asyncio.gather(*(stream.publish("in.a", body) for _ in range(BATCH)))


def rules_with(in_flight: int, batch: int = BATCH) -> Rules:
    rules = load_rules(None, None, "local")
    small = replace(rules.catalogue.targets["llama-8b"], batch_size=batch, max_in_flight=in_flight)
    return replace(rules, catalogue=replace(rules.catalogue, targets={**rules.catalogue.targets, small.name: small}))


def submission(lane: Lane) -> Submission:
    deadline_at = time.time() + 3600
    return Submission(uuid.uuid4().hex, "classify.sentiment", REQUEST, lane=lane, deadline_at=deadline_at)


async def _fill(url: str, jobs: int) -> None:
    """Put the jobs on their stream."""
    await apply_topology(url)
    desk = await JetStreamDesk.connect(url, "bench")
    for start in range(0, jobs, BATCH):
        await desk.submit([submission(Lane.STANDARD) for _ in range(min(BATCH, jobs - start))])
    await desk.close()


@asynccontextmanager
async def dispatching(
    url: str,
    rules: Rules,
    backend: Backend,
    tracer: Tracer | None = None,
    counted: bool = False,
    others: Mapping[str, Backend] | None = None,
    cached: bool = False,
) -> AsyncIterator[None]:
    """Run a dispatcher with this backend for the small model, and perhaps with `others` and the cache of answers."""
    connection = await connect(url)
    queue = JetStreamQueue(connection)
    spend = CellSpendBook(JetStreamCells(connection), SystemClock(), rules.money.open_seconds)
    learned = Learned(JetStreamCalibrations(connection))
    backends = {"llama-8b": backend, **(others or {})}
    kept: dict[str, Any] = {"spend": spend, "learned": learned, "cancels": JetStreamCancels(connection)}
    if cached:
        kept["cache"] = JetStreamCache(connection)
    recorder = JobCounts(rules.catalogue.targets, backends) if counted else None
    dispatcher = Dispatcher(queue, backends, rules, SystemClock(), tracer, recorder=recorder, **kept)
    spare_what_stays()
    running = asyncio.create_task(dispatcher.run())
    try:
        yield
    finally:
        await dispatcher.drain()
        await running
        await connection.close()


async def fleet_rate(url: str, jobs: int, traced: float = 0.0, counted: bool = False) -> tuple[float, float]:
    """Measure from a full JOBS stream to the last stored result; see `Watch.rate`.

    `traced` is the share of traces kept; `counted` has the metrics filled.
    """
    await _fill(url, jobs)
    watching = await connect(url)
    tracer = _batching_tracer(traced) if traced else None
    watch = Watch()
    async with dispatching(url, rules_with(4 * BATCH), InstantBackend(), tracer, counted):
        await until_results(watching, jobs)
        rate = watch.rate(jobs)
    await watching.close()
    return rate


def _batching_tracer(share: float) -> Tracer:
    """Return a tracer that samples, builds, batches and encodes spans as for a collector, then drops the bytes."""
    return OtelTracer(Sampling(share), encoded, BatchSpanProcessor(_Discarding(Resource.create()), 100_000))


class _Discarding(OtlpExporter):
    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        self.request.of(spans)
        return SpanExportResult.SUCCESS


async def until_results(connection: Connection, jobs: int) -> None:
    """Wait for so many results. Asking for this stream alone takes a tenth of what asking for all does."""
    while (await api.stream_info(connection, RESULTS)).messages < jobs:  # noqa: ASYNC110  # the broker announces no counts
        await asyncio.sleep(0.01)


async def held_rss_mb(url: str, jobs: int) -> float:
    """Return resident megabytes of the dispatcher process with that many jobs running at once."""
    await _fill(url, jobs)
    backend = HoldingBackend(jobs)
    # An eighth of the slots is kept for the interactive lane.
    async with dispatching(url, rules_with(jobs * 8 // 7 + 1), backend):
        await backend.full.wait()
        rss_mb = resident_mb()
        backend.release.set()
    return rss_mb


def resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not say how much memory this process uses")


async def idle_latency_ms(url: str, jobs: int) -> tuple[float, float]:
    """Return the median and 99th percentile from publish to result, one job at a time on an idle fleet."""
    await apply_topology(url)
    desk = await JetStreamDesk.connect(url, "bench")
    target = load_rules(None, None, "local").catalogue.targets["llama-8b"]
    async with dispatching(url, rules_with(target.max_in_flight, target.batch_size), InstantBackend()):
        results = desk.results()
        arrived: asyncio.Queue[Result] = asyncio.Queue()
        listening = asyncio.create_task(_forward(results, arrived))
        await _warm_up(desk, arrived)
        times = [await _one_job_ms(desk, arrived) for _ in range(jobs)]
        listening.cancel()
    await desk.close()
    cuts = statistics.quantiles(times, n=100)
    return cuts[49], cuts[98]


async def _forward(results: AsyncIterator[Result], arrived: asyncio.Queue[Result]) -> None:
    async for result in results:
        arrived.put_nowait(result)


async def _warm_up(desk: JetStreamDesk, arrived: asyncio.Queue[Result]) -> None:
    for _ in range(20):
        await _one_job_ms(desk, arrived)


async def _one_job_ms(desk: JetStreamDesk, arrived: asyncio.Queue[Result]) -> float:
    started = time.perf_counter()
    await desk.submit([submission(Lane.INTERACTIVE)])
    await arrived.get()
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()
