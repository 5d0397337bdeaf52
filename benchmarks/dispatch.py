"""What carrying a job costs: publish -> two stages -> result with an instant backend, one dispatcher process.

The ceiling is measured in the same run on the same kind of server: stock nats-py doing one stage and nothing else
(pull 256, publish 256 with ids, wait for every PubAck, acknowledge). A job here takes two stages, is decoded and
decided on twice, and leaves a line of accounts as well. The jobs wait on the stream before the clock starts, in both.

    python -m benchmarks.dispatch [--jobs 20000] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats
import uvloop
from nats.js.api import ConsumerConfig

from benchmarks.instant import HoldingBackend, InstantBackend
from benchmarks.report import show
from fleet.app import SystemClock, load_rules, open_desk, open_queue
from fleet.dispatch.dispatcher import Dispatcher
from fleet.model.job import Lane
from fleet.model.submission import Submission
from fleet.ports import Backend, Tracer
from fleet.telemetry.tracing import tracer_from_environment
from policies.rules import Rules
from queues.server import EmbeddedServer

BATCH = 256
ROUNDS = 3
HELD_JOBS = 10_000
IDLE_JOBS = 400
REQUEST = {"messages": [{"role": "user", "content": "Classify the sentiment of this note: " + "all went well " * 8}]}


def main() -> None:
    arguments = _arguments()
    rounds = [_round(arguments.jobs) for _ in range(ROUNDS)]
    figures = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    figures["ratio"] = figures["jobs_per_second"] / figures["raw_jobs_per_second"]
    figures["ratio_traced"] = figures["jobs_per_second_traced"] / figures["raw_jobs_per_second"]
    figures["rss_mb"] = _measure(held_rss_mb, HELD_JOBS)
    figures["idle_p50_ms"], figures["idle_p99_ms"] = _measure(idle_latency_ms, IDLE_JOBS)
    show(figures, arguments.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _round(jobs: int) -> dict[str, float]:
    return {
        "raw_jobs_per_second": _measure(raw_rate, jobs),
        "jobs_per_second": _measure(fleet_rate, jobs),
        "jobs_per_second_traced": _measure(fleet_rate, jobs, True),
    }


def _measure(what: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """Run one measurement in a fresh process against a fresh server."""
    with _server() as url, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_in_process, what, url, *arguments).result()


def _in_process(what: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    return uvloop.run(what(*arguments))  # type: ignore[arg-type]


@contextmanager
def _server() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            yield server.url
        finally:
            server.stop()


async def raw_rate(url: str, jobs: int) -> float:
    """Jobs per second of the bare cycle with stock nats-py."""
    connection = await nats.connect(url)
    stream = connection.jetstream()
    await stream.add_stream(name="IN", subjects=["in.>"], retention="workqueue")
    await stream.add_stream(name="OUT", subjects=["out.>"])
    await _publish_raw(stream, jobs)
    config = ConsumerConfig(max_ack_pending=10 * BATCH)
    pull = await stream.pull_subscribe("in.>", durable="raw", config=config)
    started = time.perf_counter()
    done = 0
    while done < jobs:
        messages = await pull.fetch(BATCH)
        await asyncio.gather(*(_raw_result(stream, m.data) for m in messages))
        for message in messages:
            await message.ack()
        done += len(messages)
    await connection.flush()
    rate = jobs / (time.perf_counter() - started)
    await connection.close()
    return rate


async def _raw_result(stream: Any, data: bytes) -> None:
    await stream.publish("out.a", data, headers={"Nats-Msg-Id": uuid.uuid4().hex})


async def _publish_raw(stream: Any, jobs: int) -> None:
    body = b"x" * 300
    for _ in range(0, jobs, BATCH):
        await asyncio.gather(*(stream.publish("in.a", body) for _ in range(BATCH)))


def _bench_rules(batch: int, in_flight: int) -> Rules:
    rules = load_rules()
    small = replace(rules.catalogue.targets["llama-8b"], batch_size=batch, max_in_flight=in_flight)
    return replace(rules, catalogue=replace(rules.catalogue, targets={**rules.catalogue.targets, small.name: small}))


def _submissions(jobs: int) -> list[Submission]:
    return [
        Submission(uuid.uuid4().hex, "classify.sentiment", REQUEST, lane=Lane.STANDARD, deadline_at=time.time() + 3600)
        for _ in range(jobs)
    ]


async def _dispatcher(url: str, rules: Rules, backend: Backend, tracer: Tracer | None = None) -> Dispatcher:
    return Dispatcher(await open_queue(url), {"llama-8b": backend}, rules, SystemClock(), tracer)


async def fleet_rate(url: str, jobs: int, traced: bool = False) -> float:
    """Jobs per second from a full JOBS stream to the last stored result."""
    environment = {"OTEL_TRACES_EXPORTER": "none_but_record"} if traced else {}
    tracer = tracer_from_environment(environment) if traced else None
    desk = await open_desk(url, "bench")
    submissions = _submissions(jobs)
    for start in range(0, jobs, BATCH):
        await desk.submit(submissions[start : start + BATCH])
    dispatcher = await _dispatcher(url, _bench_rules(BATCH, 4 * BATCH), InstantBackend(), tracer)
    rate = await _time_until_answered(url, dispatcher, jobs)
    await desk.close()
    return rate
