"""Measures what adapters cost an engine: jobs per second with none, one, and two of them mixed with the base.

Two engines of the 8B stand-in run side by side, one of them started for adapters, and answer held-out jobs of two
tasks, greedily, with log-probabilities, all jobs of a round at once. Each task has an adapter, trained on right
answers. `plain` is the engine without adapters; the other one is asked for none (`base`), for one by all jobs (`one`),
for that of each task (`own`), and by a third of the jobs each for one, the other and none (`mixed`). A `ratio` is jobs
per second of processor time over those of `plain`, each of its quickest round, because other work on the machine slows
all; `others_cpu_share` says how much of that there was. There are no ratios if the two quickest rounds of any differ
too much. `changed` counts answers of the mix that are not the same text alone: rounding turns a few that were close to
another.

`load_ms` is how much longer the first call with an adapter takes than the next, its files in memory; `swap_ms` is the
same where another adapter has to go first.

    python -m benchmarks.adapters [--jobs 120] [--rounds 12] [--steps 300] [--folder build/adapters] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.peers.machine import busy_share, processor_seconds
from benchmarks.report import show
from deployments.adapters.base import base_of
from deployments.adapters.layout import read_adapter
from deployments.adapters.recipe import Recipe
from deployments.profiles import KEPT_FOR_EACH_PLACE, AdapterSlots, Profile, model, serving
from deployments.replica.offline import offline_chat
from deployments.standins.tasks import TaskExample, examples, is_correct
from fleet.model.adapter import ADAPTER_FILES, adapter_digest
from fleet.model.attempt import Answer

if TYPE_CHECKING:
    from deployments.replica.adapters import AdaptedChat

TARGET = "llama-8b"
TASKS = ("plan.schedule", "recommend.next_step")
KINDS = ("plain", "base", "one", "own", "mixed")
EXAMPLES = 1000
SECONDS = 600.0
PLACES = AdapterSlots(at_once=2)
APART = 1.1
"""The most by which the two quickest rounds of a kind may differ; beyond it the machine was busy otherwise."""

Files = Mapping[str, bytes]
Job = tuple[TaskExample, str | None]


@dataclass(frozen=True, slots=True)
class Run:
    """A round of one kind: its jobs, seconds passed, seconds of processor time, and the answers."""

    jobs: Sequence[Job]
    seconds: float
    processor_seconds: float
    texts: Sequence[str]


def trained(task: str, folder: Path, steps: int) -> Files:
    """Return the files of an adapter for the task, trained now if it is not in the folder yet."""
    out = folder / f"{task}-{steps}"
    if not (out / ADAPTER_FILES[0]).is_file():
        from deployments.adapters.train import train

        folder.mkdir(parents=True, exist_ok=True)
        data = folder / f"{task}.jsonl"
        chats = (
            [*each.messages, {"role": "assistant", "content": each.answer}]
            for each in examples("train", 16, EXAMPLES, task)
        )
        data.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
        train(base_of(TARGET, Profile.LOCAL), data, out, Recipe(rate=4e-3, steps=steps), task)
    return {name: (read_adapter(out).folder / name).read_bytes() for name in ADAPTER_FILES}


def asked(kind: str, round_: int, count: int, digests: Mapping[str, str]) -> list[Job]:
    """Return the jobs of a round, which no cache of prompts has seen; `digests` are the adapters by their task."""
    seed = 100 * round_ + KINDS.index(kind)
    jobs = [example for task in TASKS for example in examples("heldout", seed, count // len(TASKS), task)]
    first, second = (digests[task] for task in TASKS)
    match kind:
        case "one":
            return [(job, first) for job in jobs]
        case "own":
            return [(job, digests[job.task]) for job in jobs]
        case "mixed":
            return [(job, (None, first, second)[place % 3]) for place, job in enumerate(jobs)]
        case _:
            return [(job, None) for job in jobs]


async def measured(options: argparse.Namespace, known: Mapping[str, Files]) -> dict[str, float]:
    """Return the figures. The first round of each kind warms up and is not counted."""
    digests = dict(zip(TASKS, known, strict=True))
    described = model(Profile.LOCAL, TARGET)
    async with (
        offline_chat(TARGET, described) as plain,
        offline_chat(TARGET, serving(TARGET, described, PLACES)) as adapted,
    ):
        runs: dict[str, list[Run]] = {kind: [] for kind in KINDS}
        for round_ in range(options.rounds + 1):
            for kind in KINDS:
                jobs = asked(kind, round_, options.jobs, digests)
                runs[kind].append(await _run(plain if kind == "plain" else adapted, jobs, known))
        counted = {kind: each[1:] for kind, each in runs.items()}
        figures = _rates(counted) | _right(counted) | await _changed(adapted, counted["mixed"][-1], known)
        return figures | await _loads(adapted, known[digests[TASKS[0]]])


async def _run(chat: AdaptedChat, jobs: Sequence[Job], known: Mapping[str, Files]) -> Run:
    before, started = processor_seconds(os.getpid()), time.perf_counter()
    texts = await asyncio.gather(*(_text(chat, job, known) for job in jobs))
    return Run(jobs, time.perf_counter() - started, processor_seconds(os.getpid()) - before, texts)


async def _text(chat: AdaptedChat, job: Job, known: Mapping[str, Files]) -> str:
    async def read(digest: str) -> Files | None:
        return known.get(digest)

    example, digest = job
    body: dict[str, Any] = {"messages": list(example.messages), "max_tokens": 40, "temperature": 0}
    outcome = await chat.answer(body, SECONDS, digest, read)
    if not isinstance(outcome, Answer):
        raise RuntimeError(f"a job failed: {outcome}")
    return outcome.text


def _rates(runs: Mapping[str, Sequence[Run]]) -> dict[str, float]:
    used = {kind: [run.processor_seconds for run in each] for kind, each in runs.items()}
    rates = {kind: median(len(run.texts) / run.seconds for run in each) for kind, each in runs.items()}
    figures = {f"{kind}_jobs_per_second": rate for kind, rate in rates.items()}
    if any(quickest[1] > APART * quickest[0] for quickest in map(sorted, used.values())):
        return figures
    return figures | {f"{kind}_ratio": min(used["plain"]) / min(each) for kind, each in used.items()}


def _right(runs: Mapping[str, Sequence[Run]]) -> dict[str, float]:
    """Return the share of right answers to each task by the base, and by its own adapter."""
    found = {}
    for task, kind in product(TASKS, ("base", "own")):
        said = [
            is_correct(task, job.answer, text)
            for run in runs[kind]
            for (job, _), text in zip(run.jobs, run.texts, strict=True)
            if job.task == task
        ]
        found[f"{task}_{kind}_right"] = sum(said) / len(said)
    return found


async def _changed(chat: AdaptedChat, mixed: Run, known: Mapping[str, Files]) -> dict[str, float]:
    alone = [await _text(chat, job, known) for job in mixed.jobs]
    return {"changed": sum(one != other for one, other in zip(alone, mixed.texts, strict=True))}


async def _loads(chat: AdaptedChat, files: Files) -> dict[str, float]:
    """Return the milliseconds that a first call takes more than the next: with room for the adapter, and without."""
    config = json.loads(files[ADAPTER_FILES[0]])
    [example] = examples("heldout", 0, 1, TASKS[0])
    taken = []
    for number in range(2 * KEPT_FOR_EACH_PLACE * PLACES.at_once):
        variant = {**files, ADAPTER_FILES[0]: json.dumps({**config, "variant": number}).encode()}
        digest, times = adapter_digest(variant), []
        for _ in range(2):
            started = time.perf_counter()
            await _text(chat, (example, digest), {digest: variant})
            times.append(time.perf_counter() - started)
        taken.append(1000 * (times[0] - times[1]))
    room = KEPT_FOR_EACH_PLACE * PLACES.at_once - len(TASKS)  # their adapters are there already
    return {"load_ms": median(taken[:room]), "swap_ms": median(taken[room:])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--folder", type=Path, default=Path("build/adapters"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = [trained(task, options.folder, options.steps) for task in TASKS]
    others = busy_share()
    figures = asyncio.run(measured(options, {adapter_digest(files): files for files in found}))
    show({**figures, "others_cpu_share": others}, options.json)


if __name__ == "__main__":
    main()
