"""Measures what known answers save and what looking for them costs: pattern answers and the exact cache.

The stream: jobs on a real broker and one dispatcher, each a prompt drawn from `--distinct` ones, some far more often
than others (Zipf), with greetings between them that a pattern answers. The model takes `--seconds` for a micro-batch
and makes the one right answer from the prompt; every result is compared with it. `calls` were made, `calls_needed` is
how many different prompts there were; the price without is that of a call for every job, by the catalogue.

Latencies are those of jobs one at a time on an idle fleet with an instant model: `pattern`, which needs nothing but the
way in and out, `exact`, a hit, and `plain`, a prompt never seen before.

The cost: jobs that are all different, the caches on and off in turn, as in `benchmarks.dispatch`. Each ratio is that of
one round; `caches_on` is their median, `caches_on_cpu` that of the processor's time for a job. There is no `caches_on`
if the rounds without the caches differ too much: the machine was busy otherwise. `others_cpu_share` says how busy.

    python -m benchmarks.caching [--jobs 3000] [--distinct 300] [--seconds 0.05] [--rate-jobs 6000] [--rounds 3]
                                 [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import statistics
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from benchmarks.dispatch import BATCH, Watch, dispatching, measure, rules_with, until_results
from benchmarks.fairness import COMPARABLE, Others
from benchmarks.instant import ANSWER
from benchmarks.report import show
from fleet.app import apply_topology
from fleet.model.attempt import Answer, Outcome, Usage
from fleet.model.call import Call
from fleet.model.job import Lane
from fleet.model.result import Result
from fleet.model.submission import Submission
from fleet.model.target import EXACT, PATTERN
from policies.budget import cost_usd
from policies.caching.patterns import Pattern, PatternList, PatternRules
from policies.rules.rules import Rules
from policies.rules.sections import CacheMode
from queues.jetstream.client.connection import connect
from queues.jetstream.desk import JetStreamDesk

TASK = "classify.sentiment"
GREETINGS = ("hi", "Hello!", "good morning", "thank you")
GREETED = "You are welcome."
GREETING_SHARE = 0.15
ZIPF = 1.1
PORTION = 50
PORTION_SECONDS = 0.05
SEED = 15
LOOKS = 200
WARM_UP = 20


def main() -> None:
    arguments = _arguments()
    others = Others()
    figures: dict[str, float] = measure(stream, arguments.jobs, arguments.distinct, arguments.seconds)
    figures |= measure(latencies, LOOKS)
    rounds = [_round(arguments.rate_jobs) for _ in range(arguments.rounds)]
    figures |= figures_of(rounds) | {"others_cpu_share": others.cpu_share()}
    show(figures, arguments.json)
    if not comparable(rounds):
        sys.exit(f"no ratios: the rates without the caches differ more than {COMPARABLE:g} times between the rounds")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--distinct", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--rate-jobs", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def rules_of(cached: bool) -> Rules:
    """Return the rules of the measured dispatcher: both caches on, or off as they are shipped."""
    rules = rules_with(4 * BATCH)
    if not cached:
        return rules
    tasks = {**rules.tasks, TASK: replace(rules.tasks[TASK], cache=CacheMode.ANY)}
    greetings = PatternList("en", "2026-11-28", frozenset({TASK}), (Pattern(GREETINGS, GREETED),))
    return replace(rules, tasks=tasks, patterns=PatternRules({"greetings": greetings}, ("greetings",)))


def right_answer(prompt: str) -> str:
    """Return the one right answer to a prompt, in letters: a digest may look like the number of a phone."""
    digest = hashlib.sha256(prompt.encode()).hexdigest()
    return GREETED if prompt in GREETINGS else digest.translate(str.maketrans("0123456789", "ghijklmnop"))


def usage_of(prompt: str) -> Usage:
    return Usage(len(prompt) // 4, 24)


class RightBackend:
    """Answers each prompt with its one right answer, a micro-batch after `seconds`, and counts the calls."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self.calls = 0

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        self.calls += len(calls)
        await asyncio.sleep(self._seconds)
        yield [(index, self._answer(call.request["messages"][-1]["content"])) for index, call in enumerate(calls)]

    def _answer(self, prompt: str) -> Answer:
        message = {"role": "assistant", "content": right_answer(prompt)}
        return replace(ANSWER, message=message, usage=usage_of(prompt))

    async def stop(self, ids: Collection[str]) -> None:
        pass

    async def close(self) -> None:
        pass


def asked(prompt: str, lane: Lane = Lane.STANDARD) -> Submission:
    request: Any = {"messages": [{"role": "user", "content": prompt}]}
    return Submission(uuid.uuid4().hex, TASK, request, lane=lane, deadline_at=time.time() + 3600)


def distinct_prompt(number: int) -> str:
    return f"Classify the sentiment of note {number}: " + "all went well " * 8


def drawn(jobs: int, distinct: int) -> list[str]:
    """Draw the prompts of a stream, always the same."""
    rng = random.Random(SEED)
    weights = [1 / rank**ZIPF for rank in range(1, distinct + 1)]
    numbers = rng.choices(range(distinct), weights, k=jobs)
    return [rng.choice(GREETINGS) if rng.random() < GREETING_SHARE else distinct_prompt(each) for each in numbers]


async def stream(url: str, jobs: int, distinct: int, seconds: float) -> dict[str, float]:
    """Return the shares of jobs by who answered them, the calls, the price with and without, and the wrong answers."""
    prompts, backend = drawn(jobs, distinct), RightBackend(seconds)
    async with _desk(url) as (desk, arrived), dispatching(url, rules_of(True), backend, cached=True):
        asked_for = {}
        for start in range(0, jobs, PORTION):
            portion = [(asked(prompt), prompt) for prompt in prompts[start : start + PORTION]]
            asked_for.update({each.id: prompt for each, prompt in portion})
            await desk.submit([each for each, _ in portion])
            await asyncio.sleep(PORTION_SECONDS)
        results = [await arrived.get() for _ in range(jobs)]
    return _figures_of_stream(results, asked_for, backend.calls)


def _figures_of_stream(results: Sequence[Result], asked_for: Mapping[str, str], calls: int) -> dict[str, float]:
    kinds = Counter(map(_kind, results))
    target = rules_of(True).catalogue.targets["llama-8b"]
    prompts = list(asked_for.values())
    without = sum(cost_usd(usage_of(prompt), target) for prompt in prompts)
    paid = sum(result.cost_usd for result in results)
    return {
        **{f"{kind}_share": kinds[kind] / len(results) for kind in ("pattern", "exact", "coalesced", "model")},
        "calls": calls,
        "calls_needed": len(set(prompts) - set(GREETINGS)),
        "jobs": len(prompts),
        "usd_per_million_jobs": 1e6 * paid / len(results),
        "usd_per_million_jobs_without": 1e6 * without / len(results),
        "price_share": paid / without,
        "wrong_answers": sum(_text(each) != right_answer(asked_for[each.job_id]) for each in results),
    }


def _kind(result: Result) -> str:
    """Return who answered: a pattern, the cache, another job that was running at the time, or a model."""
    if result.target != EXACT:
        return PATTERN if result.target == PATTERN else "model"
    cached, submitted_at = result.attempts[-1].cached, result.submitted_at
    if cached is None or submitted_at is None:
        raise ValueError(f"{result.job_id}: an answer from the cache does not say whose it is")
    return "coalesced" if cached.answered_at > submitted_at else "exact"


def _text(result: Result) -> str | None:
    return None if result.answer is None else result.answer.text


@asynccontextmanager
async def _desk(url: str) -> AsyncIterator[tuple[JetStreamDesk, asyncio.Queue[Result]]]:
    """Make the streams; yield a desk and where the results of its jobs arrive."""
    await apply_topology(url)
    desk = await JetStreamDesk.connect(url, "bench")
    arrived: asyncio.Queue[Result] = asyncio.Queue()

    async def listen() -> None:
        async for result in desk.results():
            arrived.put_nowait(result)

    listening = asyncio.create_task(listen())
    try:
        yield desk, arrived
    finally:
        listening.cancel()
        await desk.close()


async def latencies(url: str, jobs: int) -> dict[str, float]:
    """Return medians and 99th percentiles from publish to result, one job at a time, the kinds in turn."""
    times: dict[str, list[float]] = {"pattern": [], "exact": [], "model": []}
    known = distinct_prompt(0)
    async with _desk(url) as (desk, arrived), dispatching(url, rules_of(True), RightBackend(), cached=True):
        for number in range(WARM_UP + jobs):
            for expected, prompt in (("model", distinct_prompt(number)), ("pattern", "hi"), ("exact", known)):
                started = time.perf_counter()
                await desk.submit([asked(prompt, Lane.INTERACTIVE)])
                result = await arrived.get()
                if (found := _kind(result)) != expected:
                    raise ValueError(f"{result.job_id}: answered by {found}, not by {expected}")
                times[expected].append((time.perf_counter() - started) * 1000)
    figures: dict[str, float] = {}
    for kind, taken in times.items():
        cuts = statistics.quantiles(taken[WARM_UP:], n=100)
        name = "plain" if kind == "model" else kind
        figures[f"{name}_p50_ms"], figures[f"{name}_p99_ms"] = cuts[49], cuts[98]
    return figures


def _round(jobs: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, cached in (("off", False), ("on", True)):
        figures[f"{name}_jobs_per_second"], figures[f"{name}_cpu_us_per_job"] = measure(rate, jobs, cached)
    return figures


async def rate(url: str, jobs: int, cached: bool) -> tuple[float, float]:
    """Measure from a full JOBS stream of different prompts to the last stored result; see `Watch.rate`."""
    async with _desk(url) as (desk, _):
        for start in range(0, jobs, BATCH):
            await desk.submit([asked(distinct_prompt(each)) for each in range(start, min(jobs, start + BATCH))])
    watching = await connect(url)
    watch = Watch()
    async with dispatching(url, rules_of(cached), RightBackend(), cached=True):
        await until_results(watching, jobs)
        found = watch.rate(jobs)
    await watching.close()
    return found


def comparable(rounds: Sequence[Mapping[str, float]]) -> bool:
    """Return whether the rates without the caches agree well enough to compare others with them."""
    rates = [each["off_jobs_per_second"] for each in rounds]
    return max(rates) <= COMPARABLE * min(rates)


def figures_of(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each figure over the rounds, and those of the ratios with their range.

    That of the rates is left out where they cannot be compared; the processor's time hardly depends on what else runs.
    """
    figures = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    figures |= _spread("caches_on_cpu", [each["off_cpu_us_per_job"] / each["on_cpu_us_per_job"] for each in rounds])
    if comparable(rounds):
        figures |= _spread("caches_on", [each["on_jobs_per_second"] / each["off_jobs_per_second"] for each in rounds])
    return figures


def _spread(name: str, ratios: Sequence[float]) -> dict[str, float]:
    return {name: statistics.median(ratios), f"{name}_lowest": min(ratios), f"{name}_highest": max(ratios)}


if __name__ == "__main__":
    main()
