"""Measures whether a calibration tells requests like its labels from others, and what that costs.

From each set of prompts four of five are taken as labelled; `wrong` is the share of the others that is called
unfamiliar, `caught` the share of another set's that is, both on average over five draws. The stand-ins' tasks are
always among the sets: their region is learned from prompts with names of training and judged by prompts with names held
out. A set is a CSV file: NAME=FILE, NAME=FILE:COLUMN, or NAME=FILE:COLUMN:WHERE=VALUE for some of its rows.

    python -m benchmarks.familiarity --set mmlu=mmlu.csv --set trivia=pool.csv:question:task=trivia_qa [--json]
    python -m benchmarks.familiarity --into deployments/standins/calibration.json    # what the shipped ones have seen
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.report import show
from deployments.standins.tasks import TASKS, examples
from deployments.standins.vocabulary import Split
from fleet.lab.learning.familiarity import familiarity, fit_region
from fleet.model.calibration import ANY, Calibration, CalibrationKey, OutputKind, Region
from fleet.model.job import ChatRequest
from policies.confidence.familiarity import is_inside
from queues.wire.calibration import decode_document, encode_document

LABELLED = 0.8
SEED = 7
TOKEN_TASKS = frozenset(("classify.intent", "classify.sentiment", "analyse.divergence"))
"""Tasks answered in one to three tokens; the others' answers are short texts."""

TASK_EXAMPLES = 140
"""Prompts of each task, about as many as the shipped calibrations have labels."""
MOST = 3_000
CALLS = 500
DRAWS = 5

Sets = dict[str, tuple[list[ChatRequest], list[ChatRequest]]]


def standin_prompts(split: Split, seed: int, tasks: Sequence[str] = TASKS) -> list[ChatRequest]:
    """Return requests of the stand-ins' tasks, as many of each."""
    return [{"messages": list(one.messages)} for task in tasks for one in examples(split, seed, TASK_EXAMPLES, task)]


def prompts_of(described: str) -> tuple[str, list[ChatRequest]]:
    """Return the name of a set and its requests, in an order that is always the same."""
    name, _, rest = described.partition("=")
    file, _, rest = rest.partition(":")
    column, _, where = rest.partition(":")
    wanted = where.partition("=")
    csv.field_size_limit(sys.maxsize)
    with Path(file).open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if not where or row[wanted[0]] == wanted[2]]
    found = list(dict.fromkeys(row[column or "prompt"] for row in rows))
    random.Random(SEED).shuffle(found)
    return name, [{"messages": [{"role": "user", "content": text}]} for text in found[:MOST]]


def measure(prompts: Mapping[str, list[ChatRequest]]) -> dict[str, float]:
    """Return means over DRAWS ways to choose the labelled prompts."""
    totals: Counter[str] = Counter()
    for draw in range(DRAWS):
        totals.update(_measured(_drawn(prompts, draw)))
    return {name: total / DRAWS for name, total in totals.items()}


def _drawn(prompts: Mapping[str, list[ChatRequest]], draw: int) -> Sets:
    heldout = standin_prompts("heldout", SEED + DRAWS + draw)
    sets: Sets = {"standins": (standin_prompts("train", SEED + draw), heldout)}
    for name, requests in prompts.items():
        order = random.Random(draw).sample(requests, len(requests))
        cut = int(LABELLED * len(order))
        sets[name] = order[:cut], order[cut:]
    return sets


def _measured(sets: Sets) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, (labelled, others) in sets.items():
        tasks = [task for task in TASKS for _ in range(TASK_EXAMPLES)]
        region = fit_region(labelled, tasks if name == "standins" else None)
        if region is None:
            raise SystemExit(f"{name}: too few prompts")
        figures[f"{name}_labelled"] = len(labelled)
        figures[f"{name}_wrong"] = _outside(region, others)
        for other, (first, second) in sets.items():
            if other != name:
                figures[f"{name}_caught_{other}"] = _outside(region, [*first, *second])
        figures[f"{name}_microseconds"] = _microseconds(region, others)
    return figures


def _outside(region: Region, requests: Sequence[ChatRequest]) -> float:
    return sum(not is_inside(region, request) for request in requests) / len(requests)


def _microseconds(region: Region, requests: Sequence[ChatRequest]) -> float:
    """Return processor time per request, of the best of five rounds."""
    asked = [requests[number % len(requests)] for number in range(CALLS)]
    rounds = []
    for _ in range(5):
        started = time.process_time()
        for request in asked:
            is_inside(region, request)
        rounds.append(time.process_time() - started)
    return min(rounds) / CALLS * 1e6


def shipped(calibrations: Mapping[CalibrationKey, Calibration]) -> Iterator[Calibration]:
    """Yield the stand-ins' calibrations with what they have seen; no model needs to be asked for that."""
    for each in calibrations.values():
        tasks = [task for task in TASKS if _speaks_of(each, task)]
        named = [task for task in tasks for _ in range(TASK_EXAMPLES)]
        yield replace(each, familiar=familiarity(each.key.family, named, standin_prompts("train", SEED, tasks), named))


def _speaks_of(calibration: Calibration, task: str) -> bool:
    kind = OutputKind.TOKEN if task in TOKEN_TASKS else OutputKind.SHORT
    family = calibration.key.family
    is_its = family in (ANY, task) or (family.endswith(".*") and task.startswith(family[:-1]))
    return is_its and calibration.key.kind in (ANY, kind)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=FILE", dest="sets")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--into", type=Path, metavar="FILE", help="a file of the stand-ins' calibrations to complete")
    given = parser.parse_args(arguments)
    if given.into is not None:
        given.into.write_text(encode_document(shipped(decode_document(given.into.read_bytes()))))
        return
    show(measure(dict(map(prompts_of, given.sets))), given.json)


if __name__ == "__main__":
    main()
