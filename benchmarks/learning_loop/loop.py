"""One loop: weeks of jobs on real engines, one turn of teaching between them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.learning_loop.engines import ask
from benchmarks.learning_loop.weeks import (
    SMALL,
    START,
    STRONG,
    TASK,
    WEEK_SECONDS,
    Decided,
    RollOut,
    Row,
    Week,
    calibrated,
    collected,
    decide,
    figures,
    job_of,
    rules,
)
from deployments.standins.tasks import examples
from fleet.lab.data.export import Wish, prepare
from fleet.lab.data.folder import write_export
from fleet.lab.data.formats import DataFormat
from fleet.lab.data.licences import load_licences
from fleet.lab.gates.findings import GateReport
from fleet.lab.gates.gates import Limits, Training, Trial, judge
from fleet.lab.gates.outcomes import Pair, paired
from fleet.lab.gates.promise import Promised
from fleet.lab.gates.questions import Question, reference_of, texts_trained_on
from fleet.lab.learning.fitting import Calibrations
from fleet.lab.learning.looking import tests_so_far

WEEKS = ("uncalibrated", "calibrated", "roll-out", "promoted")
RANK, RATE, STEPS = 64, 2e-3, 1200

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Loop:
    """The outcome of a loop: its weeks, the turn between them, and the rows, for a replay."""

    weeks: Sequence[Week]
    turn: dict[str, Any]
    rows: Sequence[Row]
    digest: str


@dataclass(frozen=True, slots=True)
class Asked:
    """The rows of each week of each repeat, answered by both targets; how long an answer of the small one took."""

    repeats: Sequence[Sequence[Sequence[Row]]]
    seconds_each: float


def asked(repeats: Sequence[int], jobs: int, folder: Path, say: Say) -> Asked:
    """Ask both targets about all jobs of all repeats, one engine after the other."""
    drawn = [
        (job_of(each, repeat, week, place, jobs), each)
        for repeat in repeats
        for week in range(len(WEEKS))
        for place, each in enumerate(examples("heldout", 100 * repeat + week, jobs, TASK))
    ]
    messages = [each.messages for _, each in drawn]
    say(f"{len(messages):,} questions to {SMALL} and {STRONG}")
    small, strong = (ask(target, messages, folder) for target in (SMALL, STRONG))
    rows = iter([Row(*each, low, high) for each, low, high in zip(drawn, small.answers, strong.answers, strict=True)])
    return Asked([[list(islice(rows, jobs)) for _ in WEEKS] for _ in repeats], small.seconds_each)


def run(repeat: int, weeks: Sequence[Sequence[Row]], base_seconds: float, folder: Path, say: Say) -> Loop:
    """Run a loop: two weeks without the adapter, a turn, and two with it."""
    first = [decide(row, {}, None) for row in weeks[0]]
    base = calibrated(weeks[0], None, {}, START + WEEK_SECONDS)
    second = [decide(row, base, None) for row in weeks[1]]
    pairs = _exported([*weeks[0], *weeks[1]], [*first, *second], folder / "data", repeat)
    say(f"repeat {repeat}: training on {pairs:,} pairs")
    digest, seconds = _trained(folder, repeat)
    calibrating, judging = ([row for row in rows if not row.is_for_training] for rows in weeks[:2])
    answering = [*calibrating, *judging, *weeks[2], *weeks[3]]
    say(f"repeat {repeat}: {len(answering):,} questions to the adapter")
    told = ask(SMALL, [row.example.messages for row in answering], folder, folder / "adapter")
    for row, taught in zip(answering, told.answers, strict=True):
        row.taught = taught
    report = _tried(calibrating, judging, (base_seconds, told.seconds_each), digest, folder, base)
    in_force = {**base, **{each.key: each for each in report.calibrations}}
    roll_out = RollOut(f"taught-{repeat}", digest)
    after = [roll_out.week(rows, in_force) for rows in weeks[2:]]
    turn = {"pairs": pairs, "training_seconds": seconds, **_of_gates(report), **_of_roll_out(roll_out)}
    decided = (first, second, *after)
    return Loop([*map(figures, WEEKS, weeks, decided)], turn, answering, digest)


def _of_gates(report: GateReport) -> dict[str, Any]:
    return {"gates_passed": report.passed, "gates": {str(each.gate): each.why for each in report.findings}}


def _of_roll_out(roll_out: RollOut) -> dict[str, Any]:
    at = roll_out.promoted_at
    days = None if at is None else round((at - START - 2 * WEEK_SECONDS) / 86_400.0, 1)
    return {"promoted_after_days": days, "stopped": roll_out.stopped}


def _exported(rows: Sequence[Row], decided: Sequence[Decided], folder: Path, seed: int) -> int:
    """Write what may be learnt of the jobs as `fleet data export` does; return how many pairs there are to train on."""
    wish, licences = Wish((TASK,), DataFormat.OPENAI_SFT, "llama", seed=seed), load_licences(None)
    judging = [row.example.messages[-1]["content"] for row in rows if not row.is_for_training]
    prepared = prepare(collected(rows, decided), {}, judging, licences, wish)
    write_export(
        folder,
        prepared,
        wish,
        licences,
        {"made_at": "benchmark", "rules": "0" * 64, "against": {}, "calibration_texts": len(judging)},
    )
    return len(prepared.train)


def _trained(folder: Path, seed: int) -> tuple[str, float]:
    """Train as `fleet adapters train` does, and return the adapter's digest and how long it took."""
    options = {
        "--task": TASK,
        "--rank": RANK,
        "--rate": RATE,
        "--steps": STEPS,
        "--seed": seed,
        "-o": folder / "adapter",
    }
    words = [str(word) for pair in options.items() for word in pair]
    command = [
        sys.executable,
        "-m",
        "fleet.cli",
        "adapters",
        "train",
        str(folder / "data" / "train.jsonl"),
        *words,
        "--json",
    ]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the training failed:\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout)["digest"], round(time.perf_counter() - started, 1)


def _tried(
    calibrating: Sequence[Row],
    judging: Sequence[Row],
    seconds_each: tuple[float, float],
    digest: str,
    folder: Path,
    in_force: Calibrations,
) -> GateReport:
    """Take the adapter through the gates that stand between it and its task; its promise is tested after the base's."""
    path = folder / "data" / "train.jsonl"
    texts = texts_trained_on(path.read_bytes().splitlines())
    data = hashlib.sha256(path.read_bytes()).hexdigest()
    training = Training([prompt for prompt, _ in texts], [text for _, text in texts], data, data)
    pairs, fitting = ([_pair(row) for row in rows] for rows in (judging, calibrating))
    base, taught = (len(pairs) * each for each in seconds_each)
    trial = Trial(TASK, frozenset({TASK}), pairs, training, base, taught, fitting)
    now, spent = START + 2 * WEEK_SECONDS, tests_so_far(in_force.values())
    promised = Promised(rules().catalogue.targets[SMALL], digest, rules(), now, spent=spent)
    return judge(trial, Limits(), promised)


def _pair(row: Row) -> Pair:
    assert row.taught is not None
    question = Question(TASK, tuple(row.example.messages), reference_of(row.strong.message))
    return paired(question, row.small, row.taught)
