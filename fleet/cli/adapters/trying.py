"""`fleet adapters try`: ask a model with and without an adapter, and say whether the adapter may answer jobs."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.cli.adapters.training import BaseTarget, Weights, check_task
from fleet.cli.adapters.trial import HELD_OUT, TRAIN, Subject, Wanted, tried
from fleet.cli.connection import settings_for
from fleet.cli.extras import needs_learn
from fleet.cli.options import AsJson
from fleet.cli.output import FAILED, Output, friendly, quiet
from fleet.files import check_output, write_secret
from fleet.model.errors import ConfigError

if TYPE_CHECKING:
    from deployments.adapters.layout import Adapter
    from fleet.lab.gates.findings import GateReport
    from fleet.lab.gates.gates import Limits
    from fleet.lab.gates.outcomes import Pair
    from fleet.model.calibration import CalibrationKey

    Tried = tuple[GateReport, Sequence[Pair]]
    Said = Callable[[int, int], None]

LOCAL_SLOWDOWN, GPU_SLOWDOWN = 8.0, 2.0
"""Largest time of an answer with an adapter over the base's. A CPU adds adapters in Python, five times as slow."""


def try_adapter(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The adapter, in the layout of peft.")],
    data: Annotated[Path, typer.Option(metavar="EXPORT", help="The export that it was trained on, a folder.")],
    task: Annotated[str | None, typer.Option(help="The task it is for; without it, what the adapter says.")] = None,
    serves: Annotated[
        list[str] | None, typer.Option("--serves", help="Another task that it may answer; repeatable.")
    ] = None,
    questions: Annotated[
        list[Path] | None, typer.Option("--tasks", help="More questions with their answers; repeatable.")
    ] = None,
    calibration: Annotated[
        list[Path] | None, typer.Option(help="Questions that calibrate and judge nothing else; repeatable.")
    ] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="JSON lines that it may not have been trained on; repeatable.")
    ] = None,
    margin: Annotated[float, typer.Option(help="Share of right answers that a task may lose at most.")] = 0.03,
    slowdown: Annotated[
        float | None, typer.Option(help="How many times as long as without it an answer may take.")
    ] = None,
    base: BaseTarget = "llama-8b",
    weights: Weights = None,
    evidence: Annotated[Path | None, typer.Option("-o", "--output", help="Write the findings here, as JSON.")] = None,
    answers: Annotated[Path | None, typer.Option(help="Write both answers to each question here.")] = None,
    calibrations: Annotated[Path | None, typer.Option(help="Write the calibrations of its answers here.")] = None,
    in_force: Annotated[
        Path | None,
        typer.Option(help="The calibrations in force, a file: their tests of a promise count with its own."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether an adapter may answer jobs: every gate, with its number and interval. Exit 1 where one stops it."""
    output, written = Output(as_json), Written(evidence, answers, calibrations)
    with friendly(as_json), needs_learn("fleet adapters try"):
        from fleet.cli.adapters.trying_view import view

        files = [tuple(each or ()) for each in (questions, calibration, against)]
        written.check([data / TRAIN, data / HELD_OUT, *chain.from_iterable(files)])
        subject = replace(_subject(folder, base, weights), spent=_spent(in_force))
        limits = _limits(margin, slowdown, subject.is_local)
        wanted = Wanted(task or _task_of(subject.adapter), frozenset(serves or ()), data, limits, *files)
        _check_tasks(wanted, subject.rules.tasks)
        report, pairs = _quietly(as_json, lambda said: tried(wanted, subject, said))
        written.write(report, pairs)
        output.object(report.as_evidence())
        output.show(*view(report))
    if not report.passed:
        raise typer.Exit(FAILED)


@dataclass(frozen=True, slots=True)
class Written:
    """The files that a trial is written to, each only if it is wanted."""

    evidence: Path | None
    answers: Path | None
    calibrations: Path | None

    def check(self, inputs: Sequence[Path]) -> None:
        """Raises: ConfigError if one of them is an input, or a folder."""
        check_output("--output", self.evidence, inputs)
        check_output("--answers", self.answers, inputs)
        check_output("--calibrations", self.calibrations, inputs)

    def write(self, report: GateReport, pairs: Sequence[Pair]) -> None:
        """Raises: OSError."""
        from fleet.app import save_calibrations

        if self.evidence is not None:
            self.evidence.write_text(json.dumps(report.as_evidence(), indent=2) + "\n")
        if self.answers is not None:
            write_secret(self.answers, "".join(json.dumps(each) + "\n" for each in _answers(pairs)).encode())
        if self.calibrations is not None:
            save_calibrations(self.calibrations, report.calibrations)


def _subject(folder: Path, target: str, weights: Path | None) -> Subject:
    """Read the adapter, and check that the engine of its base can serve it. Raises: ConfigError, OSError."""
    from deployments.adapters.base import base_of
    from deployments.adapters.layout import check_adapter, read_adapter
    from deployments.profiles import Profile, model
    from fleet.app import rules_of

    settings = settings_for(None)
    profile = Profile(settings.profile)
    adapter, base = read_adapter(folder), base_of(target, profile, weights)
    check_adapter(adapter, base)
    return Subject(base, model(profile, target), adapter, rules_of(settings), time.time(), profile is Profile.LOCAL)


def _spent(in_force: Path | None) -> Mapping[CalibrationKey, int]:
    """Return the number of the last test of each promise. Raises: ConfigError."""
    from fleet.app import read_calibrations
    from fleet.lab.learning.looking import tests_so_far

    return {} if in_force is None else tests_so_far(read_calibrations(in_force).values())


def _quietly(as_json: bool, do: Callable[[Said], Tried]) -> Tried:
    """Keep what the engine prints in a file, which stays where something failed."""
    directory = Path(tempfile.mkdtemp(prefix="fleet-try-"))
    with quiet(as_json, directory / "engine.log") as output:
        done = do(lambda n, of: output.progress(f"{n:,} of {of:,} questions asked with and without it"))
    shutil.rmtree(directory, ignore_errors=True)
    return done


def _limits(margin: float, slowdown: float | None, is_local: bool) -> Limits:
    from fleet.lab.gates.gates import Limits

    if not 0.0 < margin < 1.0:
        raise ConfigError("--margin", "must be above 0 and below 1")
    usual = LOCAL_SLOWDOWN if is_local else GPU_SLOWDOWN
    return Limits(margin=margin, slowdown=usual if slowdown is None else slowdown)


def _task_of(adapter: Adapter) -> str:
    task = (adapter.card or {}).get("task")
    if not isinstance(task, str):
        raise ConfigError("--task", "must name the task: the adapter does not say what it is for")
    return task


def _check_tasks(wanted: Wanted, known: Any) -> None:
    for option, names in (("--task", {wanted.task}), ("--serves", wanted.serves)):
        for name in sorted(names):
            check_task(option, name, known)


def _answers(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    return [
        {
            "task": each.question.task,
            "messages": list(each.question.messages),
            "right": each.question.reference.text,
            "base": each.base.text,
            "adapter": each.adapter.text,
        }
        for each in pairs
    ]
