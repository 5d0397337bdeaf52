"""Measures how much of vLLM's own speed the fleet keeps, from a published job to its result.

The ceiling is vLLM's offline `LLM.chat` with all requests in one call, asked for the same log-probabilities; a second
ceiling leaves them out. They are compared with the same requests through a Serve handle in micro-batches, and through
the whole fleet: published on NATS, batched, run, judged by their log-probabilities, and the results read from NATS.
Each part runs in a process of its own and gives its memory back before the next one starts; the first round of each
warms up and is not counted. `ratio` is fleet over offline.

The part `beside` measures the time from publishing to result of 20 interactive jobs published together, on an idle
fleet and while another tenant's bulk jobs, `--jobs` of them, keep the engine full; `interactive_ratio` is that of the
95th percentiles, and `interactive_ratio_lowest` and `_highest` those of single rounds.

    python -m benchmarks.engine [--json] [--target llama-70b] [--jobs 512] [--rounds 5] [--parts offline fleet]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.report import show
from deployments.profiles import Profile, model
from fleet.loopback import free_port
from fleet.model.attempt import Answer
from fleet.model.call import Call
from fleet.model.job import Lane
from fleet.model.result import Result, Status
from fleet.model.submission import Submission

BATCH_SIZE = 32
BATCHES_IN_FLIGHT = 16
TASKS = ("nudge.recognition", "nudge.onboarding", "extract.fields")
"""The usual content of files of jobs; an answer is as long as the model makes it, some 10 to 20 tokens."""

OUTPUT_TOKENS = 32
TIMEOUT_SECONDS = 120.0
TENANT, FLOOD = "bench", "flood"
INTERACTIVE_JOBS = 20


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a run. `target` must be one of the local profile; one whose forward pass costs more than a job's
    bookkeeping says more about the fleet with a real model.
    """

    target: str = "llama-70b"
    jobs: int = 512
    rounds: int = 5
    confidence: bool = True


def submissions(options: Options) -> list[Submission]:
    """Return greedy chats of the kinds the stand-ins were trained on, pinned to the target, with new ids every time."""
    from deployments.standins.tasks import examples

    wanted = {"model": options.target, "max_tokens": OUTPUT_TOKENS, "temperature": 0}
    each = -(-options.jobs // len(TASKS))
    mixed = zip(*(examples("heldout", 0, each, task) for task in TASKS), strict=True)
    chosen = [example for row in mixed for example in row][: options.jobs]
    return [
        Submission(
            id=secrets.token_hex(16),
            task=example.task,
            request={"messages": list(example.messages), **wanted},
            lane=Lane.BULK,
            cloud="deny",
        )
        for example in chosen
    ]


def offline(options: Options) -> list[float]:
    """Return jobs per second of `LLM.chat`, by round, with the log-probabilities by which the fleet judges answers."""
    from deployments.replica.chat import CANDIDATES

    return _offline(options, CANDIDATES)


def offline_plain(options: Options) -> list[float]:
    """Return the same without log-probabilities: the speed for a user who trusts every answer."""
    return _offline(options, None)


def _offline(options: Options, candidates: int | None) -> list[float]:
    os.environ.update({"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"})
    from vllm import LLM

    described = model(Profile.LOCAL, options.target)
    llm = LLM(model=described.weights, **described.engine)
    return chat_rates(llm, options, candidates)


def chat_rates(llm: Any, options: Options, candidates: int | None) -> list[float]:
    """Return jobs per second of `LLM.chat` of an engine that runs, by round, with so many log-probabilities a token."""
    from vllm import SamplingParams

    chats = [submission.request["messages"] for submission in submissions(options)]
    sampling = SamplingParams(temperature=0, max_tokens=OUTPUT_TOKENS, logprobs=candidates)
    return timed(options, lambda: llm.chat(chats, sampling, use_tqdm=False))


def handle(options: Options) -> list[float]:
    """Return jobs per second of `RayServeBackend` with several micro-batches in flight, by round."""
    from deployments import cluster
    from deployments.serve.declared import Declared

    with TemporaryDirectory(prefix="fleet-bench-") as folder:
        cluster.start(dashboard=False, http_port=free_port(), temp_dir=Path(folder))
        try:
            declared = Declared(Profile.LOCAL, [options.target], confidence=options.confidence)
            cluster.deploy(declared.applications())
            with asyncio.Runner() as runner:
                return timed(options, lambda: runner.run(through_handle(options)))
        finally:
            cluster.stop()


async def through_handle(options: Options) -> None:
    """Answer all jobs through the target's Serve handle. Raises: RuntimeError if one fails."""
    from deployments.serve.backend import ray_serve_backend

    backend = ray_serve_backend(options.target)
    calls = [Call(submission.request, TIMEOUT_SECONDS) for submission in submissions(options)]
    waiting = iter([calls[start : start + BATCH_SIZE] for start in range(0, len(calls), BATCH_SIZE)])

    async def runner() -> None:
        for batch in waiting:
            async for group in backend.run(batch):
                failures = [outcome for _, outcome in group if not isinstance(outcome, Answer)]
                if failures:
                    raise RuntimeError(f"a job failed: {failures[0]}")

    await asyncio.gather(*(runner() for _ in range(BATCHES_IN_FLIGHT)))


def fleet(options: Options) -> list[float]:
    """Return jobs per second from the first job published to the last result read, by round."""
    with TemporaryDirectory(prefix="fleet-bench-") as folder, asyncio.Runner() as runner:
        started = runner.run(start_fleet(Path(folder)))
        try:
            return timed(options, lambda: runner.run(_publish_to_result(started.nats_url, options)))
        finally:
            runner.run(started.stop())


async def start_fleet(folder: Path) -> Any:
    from fleet.app import local
    from fleet.settings.environment import load

    settings = load(data_dir=folder, dashboard=False, nats_port=0, http_port=0, dashboard_port=0, log_level="error")
    return await local.start(settings, on_progress=lambda step: None)


def beside(options: Options) -> list[dict[str, float]]:
    """Return the interactive jobs' times in milliseconds at the 95th percentile, idle and beside bulk, by round."""
    with TemporaryDirectory(prefix="fleet-bench-") as folder, asyncio.Runner() as runner:
        started = runner.run(start_fleet(Path(folder)))
        try:
            return [runner.run(_idle_and_beside(started.nats_url, options)) for _ in range(options.rounds + 1)][1:]
        finally:
            runner.run(started.stop())


async def _idle_and_beside(nats_url: str, options: Options) -> dict[str, float]:
    from fleet.app.broker import open_desk

    bench, flood = await open_desk(nats_url, TENANT), await open_desk(nats_url, FLOOD)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            idle = await _interactive_p95_ms(bench, options)
            full, over = asyncio.Event(), asyncio.Event()
            reading = asyncio.create_task(_read(aiter(flood.results()), options, full, over))
            await asyncio.sleep(0)  # the reader subscribes before anything can be answered
            await flood.submit(submissions(options))
            await full.wait()
            busy = await _interactive_p95_ms(bench, options)
            if over.is_set():
                raise RuntimeError("the bulk jobs ended first: give more --jobs")
            await reading
    finally:
        await bench.close()
        await flood.close()
    return {"interactive_idle_p95_ms": idle, "interactive_p95_ms": busy, "interactive_ratio": busy / idle}


async def _interactive_p95_ms(desk: Any, options: Options) -> float:
    jobs = [replace(each, lane=Lane.INTERACTIVE) for each in submissions(replace(options, jobs=INTERACTIVE_JOBS))]
    results = aiter(desk.results())
    reading = asyncio.create_task(_times(results, options.target))
    await asyncio.sleep(0)
    started = time.perf_counter()
    await desk.submit(jobs)
    return quantiles([(each - started) * 1000 for each in await reading], n=20)[18]


async def _times(results: Any, target: str) -> list[float]:
    times: list[float] = []
    async for result in results:
        require(result, target)
        times.append(time.perf_counter())
        if len(times) == INTERACTIVE_JOBS:
            break
    return times


async def _publish_to_result(nats_url: str, options: Options) -> None:
    from fleet.app.broker import open_desk

    desk = await open_desk(nats_url, TENANT)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            results = aiter(desk.results())
            reading = asyncio.create_task(_read(results, options))
            await asyncio.sleep(0)  # the reader subscribes before anything can be answered
            await desk.submit(submissions(options))
            await reading
    finally:
        await desk.close()


async def _read(
    results: Any, options: Options, full: asyncio.Event | None = None, over: asyncio.Event | None = None
) -> None:
    """Read all results. Set `full` when as many have come as a batch has jobs, and `over` after the last."""
    seen = 0
    async for result in results:
        require(result, options.target)
        seen += 1
        if full is not None and seen == BATCH_SIZE:
            full.set()
        if seen == options.jobs:
            break
    if over is not None:
        over.set()


def require(result: Result, target: str) -> None:
    if result.status not in (Status.SUCCEEDED, Status.BEST_EFFORT) or result.attempts[0].target != target:
        raise RuntimeError(f"a job went astray: {result.status} {result.reason} {result.problem}")


def timed(options: Options, once: Callable[[], object]) -> list[float]:
    """Return jobs per second of each round after the first."""
    rates = []
    for _ in range(options.rounds + 1):
        started = time.perf_counter()
        once()
        rates.append(options.jobs / (time.perf_counter() - started))
    return rates[1:]


PARTS: Mapping[str, Callable[[Options], list[Any]]] = {
    "offline": offline,
    "offline_plain": offline_plain,
    "handle": handle,
    "fleet": fleet,
    "beside": beside,
}
MARK = "rounds: "


def in_own_process(part: str, options: Options) -> list[Any]:
    """Return what a part measured, by round, in a fresh process.

    Raises: RuntimeError with what the process wrote if it fails.
    """
    command = [sys.executable, "-m", "benchmarks.engine", "--part", part, "--options", json.dumps(asdict(options))]
    done = subprocess.run(command, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            rounds: list[Any] = json.loads(line.removeprefix(MARK))
            return rounds
    raise RuntimeError(f"part {part} failed:\n{done.stdout}\n{done.stderr}")


def measure(options: Options, parts: Sequence[str]) -> dict[str, float]:
    """Return medians over the rounds, and the share of the ceiling that the whole fleet keeps."""
    rates = {part: median(in_own_process(part, options)) for part in parts if part != "beside"}
    figures = {f"{part}_jobs_per_second": rate for part, rate in rates.items()}
    if "fleet" in rates and "offline" in rates:
        figures["ratio"] = rates["fleet"] / rates["offline"]
    if "beside" in parts:
        rounds = in_own_process("beside", options)
        figures |= {name: median(each[name] for each in rounds) for name in rounds[0]}
        ratios = [each["interactive_ratio"] for each in rounds]
        figures |= {"interactive_ratio_lowest": min(ratios), "interactive_ratio_highest": max(ratios)}
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    default = Options()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--target", default=default.target)
    parser.add_argument("--jobs", type=int, default=default.jobs)
    parser.add_argument("--rounds", type=int, default=default.rounds)
    parser.add_argument("--no-confidence", action="store_true", help="leave log-probabilities out of the handle part")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--options", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.part:
        print(MARK + json.dumps(PARTS[given.part](Options(**json.loads(given.options)))))
        return
    show(measure(Options(given.target, given.jobs, given.rounds, not given.no_confidence), given.parts), given.json)


if __name__ == "__main__":
    main()
