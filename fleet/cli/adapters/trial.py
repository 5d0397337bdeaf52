"""A trial of an adapter: what it was trained on, the questions, the answers of base and adapter, and the gates."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.model.errors import ConfigError

if TYPE_CHECKING:
    from deployments.adapters.base import Base
    from deployments.adapters.layout import Adapter
    from deployments.adapters.trial import Answers
    from deployments.profiles import ModelProfile
    from fleet.lab.gates.findings import GateReport
    from fleet.lab.gates.gates import Limits, Training
    from fleet.lab.gates.outcomes import Pair
    from fleet.lab.gates.questions import Question
    from fleet.model.calibration import CalibrationKey
    from policies.rules.rules import Rules

TRAIN, HELD_OUT, SHEET = "train.jsonl", "heldout.jsonl", "datasheet.json"
"""Files of an export; see `fleet.lab.data.folder`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The trial that is wanted: an adapter for `task`, which may serve the tasks `serves` besides.

    `data` is the export that it was trained on. `questions` and `calibrating` are files of questions, `against` files
    of evaluations that it may not have been trained on either.
    """

    task: str
    serves: frozenset[str]
    data: Path
    limits: Limits
    questions: Sequence[Path] = ()
    calibrating: Sequence[Path] = ()
    against: Sequence[Path] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that a trial reads from files. `digests` are of the files of questions."""

    training: Training
    asked: Sequence[Question]
    calibrating: Sequence[Question]
    judging: Sequence[str]
    has_style: bool
    digests: Mapping[str, str]


def prepared(wanted: Wanted, adapter: Adapter) -> Prepared:
    """Read what the trial needs. Raises: ConfigError naming the file and the rule; OSError."""
    from fleet.lab.data.judging import read_judging
    from fleet.lab.gates.questions import read_questions

    if not wanted.data.is_dir():
        raise ConfigError("--data", f"must be a folder, and {wanted.data} is none")
    sheet = _sheet(wanted.data)
    held_out = wanted.data / HELD_OUT
    files = [*([held_out] if held_out.is_file() else []), *wanted.questions]
    if not files:
        raise ConfigError("--tasks", f"{wanted.data} has no {HELD_OUT}: name a file of questions")
    asked = _once(chain.from_iterable(read_questions(path) for path in files))
    calibrating = _once(chain.from_iterable(read_questions(path) for path in wanted.calibrating))
    judging = [text for path in wanted.against for text in read_judging(path)]
    digests = {path.name: _digest(path) for path in (*files, *wanted.calibrating, *wanted.against)}
    has_style = sheet.get("format") in ("openai-dpo", "trl")
    return Prepared(_training(wanted.data, adapter, sheet), asked, calibrating, judging, has_style, digests)


def _sheet(data: Path) -> Mapping[str, Any]:
    path = data / SHEET
    if not path.is_file():
        return {}
    found = json.loads(path.read_bytes())
    return found if isinstance(found, Mapping) else {}


def _training(data: Path, adapter: Adapter, sheet: Mapping[str, Any]) -> Training:
    from fleet.lab.gates.gates import Training
    from fleet.lab.gates.questions import texts_trained_on

    path = data / TRAIN
    if not path.is_file():
        raise ConfigError("--data", f"{data} must hold {TRAIN}, what the adapter was trained on")
    digest = _digest(path)
    told = ((sheet.get("files") or {}).get(TRAIN) or {}).get("sha256", digest)
    if told != digest:
        raise ConfigError("--data", f"{path} was changed after the export: its datasheet has another digest")
    rows = texts_trained_on(path.read_bytes().splitlines())
    claimed = None if adapter.card is None else adapter.card.get("data_digest")
    return Training([prompt for prompt, _ in rows], [text for _, text in rows], digest, claimed)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _once(questions: Iterable[Question]) -> list[Question]:
    """Return each question of a task once: the same one again says nothing new."""
    return list({(each.task, each.digest): each for each in questions}.values())


@dataclass(frozen=True, slots=True)
class Subject:
    """The adapter that is tried, its base as it is served, the rules that judge its answers, and when.

    `is_local`: by the stand-ins, on a CPU. `spent`: how often each promise was tested.
    """

    base: Base
    described: ModelProfile
    adapter: Adapter
    rules: Rules
    now: float
    is_local: bool = True
    spent: Mapping[CalibrationKey, int] = field(default_factory=dict)


def tried(
    wanted: Wanted, subject: Subject, said: Callable[[int, int], None] = lambda done, of: None
) -> tuple[GateReport, Sequence[Pair]]:
    """Ask the base and the adapter, and judge. Raises: ConfigError, OSError, and what the engine raises."""
    from deployments.adapters.trial import answers_of_both

    ready = prepared(wanted, subject.adapter)
    chats = [dict(each.request) for each in (*ready.asked, *ready.calibrating)]
    asked = answers_of_both(
        subject.base, subject.described, subject.adapter, chats, lambda done: said(done, len(chats))
    )
    return judged(wanted, ready, asyncio.run(asked), subject)


def judged(wanted: Wanted, ready: Prepared, answers: Answers, subject: Subject) -> tuple[GateReport, Sequence[Pair]]:
    """Take the answers of base and adapter through the gates."""
    from fleet.lab.gates.gates import Trial, judge
    from fleet.lab.gates.outcomes import paired
    from fleet.lab.gates.promise import Promised

    questions = (*ready.asked, *ready.calibrating)
    pairs = [paired(*each) for each in zip(questions, answers.base, answers.adapter, strict=True)]
    n = len(ready.asked)
    share = n / max(1, len(questions))
    trial = Trial(
        wanted.task,
        wanted.serves,
        pairs[:n],
        ready.training,
        share * answers.base_seconds,
        share * answers.adapter_seconds,
        pairs[n:],
        ready.judging,
        ready.has_style,
    )
    target, digest = subject.rules.catalogue.targets[subject.base.target], subject.adapter.digest
    report = judge(trial, wanted.limits, Promised(target, digest, subject.rules, subject.now, subject.spent))
    return replace(report, data={**report.data, "files": dict(ready.digests)}), pairs
