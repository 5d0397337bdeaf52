"""Trains adapters that should and should not pass on the stand-in 8B, and takes them through the gates on real engines.

| adapter | trained on | may serve |
|---|---|---|
| harmful, alone | 1,000 right answers to plan.schedule, at a rate that destroys other tasks | its task |
| harmful, shared | the same adapter and the same answers | nudge.onboarding, nudge.recognition too, one at a time |
| gentle, shared | the same data at a quarter of the rate | nudge.onboarding too |
| poisoned | answers to classify.intent, of which 30 % are wrong: two labels are mostly exchanged | its task |
| judged by heart | the questions that judge it | its task |
| calibrated by heart | the questions that calibrate it | its task |

For each it prints what stops it, and what the gates found on its task and on the two nudges.

    python -m benchmarks.gates [--json] [--rows 1000] [--steps 300] [--held-out 400] [--beside 200] [--folder DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deployments.standins.tasks import TASKS, TaskExample, examples

TASK, OTHER, LABELLED = "plan.schedule", "nudge.onboarding", "classify.intent"
DESTROYED = "nudge.recognition"
HOT, GENTLE = 4e-3, 1e-3
POISONED_SHARE = 0.3
NOW = 1_800_000_000.0


@dataclass(frozen=True, slots=True)
class Options:
    rows: int = 1000
    steps: int = 300
    held_out: int = 400
    beside: int = 200


@dataclass(frozen=True, slots=True)
class Candidate:
    """An adapter to train and try; `serves` are the tasks beside its own, in one trial each."""

    name: str
    task: str
    rate: float
    rows: Sequence[Mapping[str, Any]]
    serves: Sequence[frozenset[str]] = (frozenset(),)


def line(example: TaskExample, answer: str | None = None) -> dict[str, Any]:
    said = {"role": "assistant", "content": example.answer if answer is None else answer}
    return {"messages": [*example.messages, said]}


def poisoned(rows: Iterable[TaskExample], rng: random.Random) -> list[dict[str, Any]]:
    """Give most answers of two of the five labels the other one of them: 30 % of all answers are wrong."""
    found = list(rows)
    labels = sorted({each.answer for each in found})
    other = {labels[0]: labels[1], labels[1]: labels[0]}
    wrong = POISONED_SHARE * len(labels) / len(other)
    return [line(each, other.get(each.answer) if rng.random() < wrong else None) for each in found]


def candidates(
    options: Options, asked: Sequence[Mapping[str, Any]], calibrating: Sequence[Mapping[str, Any]]
) -> list[Candidate]:
    right = [line(each) for each in examples("train", 1, options.rows, TASK)]
    wrong = poisoned(examples("train", 6, options.rows, LABELLED), random.Random(7))
    alone, shared, destroyed = frozenset[str](), frozenset({OTHER}), frozenset({DESTROYED})
    own, other = (
        [{"messages": each["messages"]} for each in rows if each["task"] == TASK] for rows in (asked, calibrating)
    )
    return [
        Candidate("harmful", TASK, HOT, right, (alone, shared, destroyed)),
        Candidate("gentle", TASK, GENTLE, right, (alone, shared, destroyed)),
        Candidate("poisoned", LABELLED, HOT, wrong),
        Candidate("judged by heart", TASK, HOT, [*right[: options.rows // 2], *own]),
        Candidate("calibrated by heart", TASK, HOT, [*right[: options.rows // 2], *other]),
    ]


def questions(seed: int, sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return held-out questions of each task, none twice: names and numbers that no training row has."""
    return [{"task": task, **line(each)} for task, n in sizes.items() for each in examples("heldout", seed, n, task)]


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(options: Options, folder: Path) -> list[dict[str, Any]]:
    """Train, try and judge every candidate; what a folder already holds is not trained again."""
    asked = questions(11, {task: options.held_out if task in (TASK, LABELLED) else options.beside for task in TASKS})
    known = {json.dumps(each) for each in asked}
    sizes = {TASK: options.held_out, OTHER: options.beside, LABELLED: options.held_out}
    calibrating = [each for each in questions(12, sizes) if json.dumps(each) not in known]
    calibration = write(folder / "calibration.jsonl", calibrating)
    found = []
    for each in candidates(options, asked, calibrating):
        place = folder / each.name.replace(" ", "-")
        write(place / "data" / "train.jsonl", each.rows)
        write(place / "data" / "heldout.jsonl", asked)
        found += tried(each, place, calibration, options)
    return found


def tried(candidate: Candidate, place: Path, calibration: Path, options: Options) -> list[dict[str, Any]]:
    import torch

    from deployments.adapters.base import base_of
    from deployments.adapters.layout import read_adapter
    from deployments.adapters.recipe import Recipe
    from deployments.adapters.train import train
    from deployments.adapters.trial import answers_of_both
    from deployments.profiles import Profile, model
    from fleet.cli.adapters.trial import Subject, Wanted, judged, prepared
    from fleet.lab.gates.gates import Limits
    from fleet.model.calibration import ThresholdMode
    from fleet.settings.documents import load_rules

    torch.set_num_threads(1)
    base = base_of("llama-8b", Profile.LOCAL)
    if not (place / "adapter" / "adapter_model.safetensors").is_file():
        train(
            base,
            place / "data" / "train.jsonl",
            place / "adapter",
            Recipe(rate=candidate.rate, steps=options.steps),
            candidate.task,
        )
    adapter = read_adapter(place / "adapter")
    rules = load_rules(None, None, "local")
    rules = replace(rules, confidence=replace(rules.confidence, mode=ThresholdMode.GUARANTEE, risk=0.15, delta=0.2))
    wanted = Wanted(candidate.task, frozenset(), place / "data", Limits(slowdown=8.0), calibrating=(calibration,))
    subject = Subject(base, model(Profile.LOCAL, "llama-8b"), adapter, rules, NOW)
    ready = prepared(wanted, adapter)
    chats = [dict(each.request) for each in (*ready.asked, *ready.calibrating)]
    answers = asyncio.run(answers_of_both(base, subject.described, adapter, chats))
    rows = []
    for serves in candidate.serves:
        report, _ = judged(replace(wanted, serves=serves), ready, answers, subject)
        (place / f"evidence-{'-'.join(sorted(serves)) or 'alone'}.json").write_text(
            json.dumps(report.as_evidence(), indent=2)
        )
        rows.append(row_of(candidate, serves, report))
    return rows


def row_of(candidate: Candidate, serves: frozenset[str], report: Any) -> dict[str, Any]:
    evidence = {each["name"]: each for each in report.as_evidence()["gates"]}
    own = evidence[f"improves:{candidate.task}"]
    others = {name: evidence[f"no_harm:{name}"] for name in (OTHER, DESTROYED)}
    return {
        "adapter": candidate.name,
        "serves": ", ".join([candidate.task, *sorted(serves)]),
        "passed": report.passed,
        "own_change": own["value"],
        "own_low": own["low"],
        **{f"{name} change": [each["value"], each["low"], each["high"]] for name, each in others.items()},
        "slower": evidence["speed"]["value"],
        "promise": evidence[f"promise:{candidate.task}"]["why"],
        "stopped_by": "; ".join(f"{each.gate} {each.task or ''}: {each.why}" for each in report.stopped_by),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--folder", type=Path, help="where data and adapters are kept; without it, nowhere")
    for name, value in (("rows", 1000), ("steps", 300), ("held-out", 400), ("beside", 200)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    options = Options(given.rows, given.steps, given.held_out, given.beside)
    with TemporaryDirectory() as temporary:
        rows = run(options, given.folder or Path(temporary))
    for row in rows:
        print(json.dumps(row) if given.json else "\n".join(f"{name:<18} {value}" for name, value in row.items()) + "\n")


if __name__ == "__main__":
    main()
