"""How much of vLLM's own speed the fleet keeps.

The ceiling is vLLM's offline `LLM.chat` with all requests in one call and no log-probabilities; then the same requests
through a Serve handle in micro-batches, with confidence on. Each part runs in a process of its own and gives its memory
back before the next one starts; the first round of each is not counted.

    python -m benchmarks.engine [--json] [--target llama-70b] [--jobs 512] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from deployments.profiles import Profile, model
from fleet.model.attempt import Answer
from fleet.model.call import Call

BATCH_SIZE = 32
BATCHES_IN_FLIGHT = 16
OUTPUT_TOKENS = 16
CALL_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Options:
    """`target` must be one of the local profile; one whose forward pass costs more than a job's bookkeeping says more
    about the fleet with a real model."""

    target: str = "llama-70b"
    jobs: int = 512
    rounds: int = 5
    confidence: bool = True


def requests(options: Options) -> list[dict[str, Any]]:
    """Greedy chats that differ in a few words, as nudges do."""
    return [
        {
            "messages": [{"role": "user", "content": f"Remind person {number} of the meeting on day {number % 28}."}],
            "max_tokens": OUTPUT_TOKENS,
            "temperature": 0,
        }
        for number in range(options.jobs)
    ]


def offline(options: Options) -> list[float]:
    """Jobs per second of `LLM.chat`, by round."""
    os.environ.update({"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"})
    from vllm import LLM, SamplingParams

    described = model(Profile.LOCAL, options.target)
    llm = LLM(model=described.weights, **described.engine)
    chats = [request["messages"] for request in requests(options)]
    sampling = SamplingParams(temperature=0, max_tokens=OUTPUT_TOKENS)
    return timed(options, lambda: llm.chat(chats, sampling, use_tqdm=False))


def handle(options: Options) -> list[float]:
    """Jobs per second of `RayServeBackend` with several micro-batches in flight, by round."""
    from deployments import cluster

    with TemporaryDirectory(prefix="fleet-bench-") as folder:
        cluster.start(dashboard=False, http_port=free_port(), temp_dir=Path(folder))
        try:
            cluster.deploy(Profile.LOCAL, [options.target], confidence=options.confidence)
            with asyncio.Runner() as runner:
                return timed(options, lambda: runner.run(_through_handle(options)))
        finally:
            cluster.stop()


async def _through_handle(options: Options) -> None:
    from deployments.backend import ray_serve_backend

    backend = ray_serve_backend(options.target)
    calls = [Call(request, CALL_TIMEOUT_SECONDS) for request in requests(options)]
    waiting = iter([calls[start : start + BATCH_SIZE] for start in range(0, len(calls), BATCH_SIZE)])

    async def runner() -> None:
        for batch in waiting:
            async for group in backend.run(batch):
                failures = [outcome for _, outcome in group if not isinstance(outcome, Answer)]
                if failures:
                    raise RuntimeError(f"a job failed: {failures[0]}")

    await asyncio.gather(*(runner() for _ in range(BATCHES_IN_FLIGHT)))


def timed(options: Options, once: Callable[[], object]) -> list[float]:
    """Jobs per second of each round after the first."""
    rates = []
    for _ in range(options.rounds + 1):
        started = time.perf_counter()
        once()
        rates.append(options.jobs / (time.perf_counter() - started))
    return rates[1:]


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


PARTS: Mapping[str, Callable[[Options], list[float]]] = {"offline": offline, "handle": handle}
MARK = "rates: "


def in_own_process(part: str, options: Options) -> list[float]:
    """The rates of a part, run in a fresh process. Raises `RuntimeError` with what it wrote if it fails."""
    command = [sys.executable, "-m", "benchmarks.engine", "--part", part, "--options", json.dumps(asdict(options))]
    done = subprocess.run(command, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            rates: list[float] = json.loads(line.removeprefix(MARK))
            return rates
    raise RuntimeError(f"part {part} failed:\n{done.stdout}\n{done.stderr}")


def measure(options: Options) -> dict[str, float]:
    """Medians over the rounds, and what part of the ceiling is kept."""
    rates = {part: median(in_own_process(part, options)) for part in PARTS}
    return {
        "offline_jobs_per_second": rates["offline"],
        "handle_jobs_per_second": rates["handle"],
        "handle_ratio": rates["handle"] / rates["offline"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--target", default=Options().target)
    parser.add_argument("--jobs", type=int, default=Options().jobs)
    parser.add_argument("--rounds", type=int, default=Options().rounds)
    parser.add_argument("--no-confidence", action="store_true", help="leave the log-probabilities out")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--options", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.part:
        print(MARK + json.dumps(PARTS[given.part](Options(**json.loads(given.options)))))
        return
    measured = measure(Options(given.target, given.jobs, given.rounds, not given.no_confidence))
    print(
        json.dumps(measured) if given.json else "\n".join(f"{name:28}{value:10.2f}" for name, value in measured.items())
    )


if __name__ == "__main__":
    main()
