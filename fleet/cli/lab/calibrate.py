"""`fleet calibrate`: learns from feedback on answers how far each target can be trusted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.connection import opened, settings_for
from fleet.cli.extras import needs_learn
from fleet.cli.lab.calibration_view import as_json, key_of, unused_lines, view
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import FAILED, Output, friendly
from fleet.files import check_output
from fleet.model.calibration import Calibration, CalibrationKey

if TYPE_CHECKING:
    from fleet.lab.learning.collected import CollectedLabels
    from fleet.lab.learning.fitting import FitOutcome
    from fleet.ports import CalibrationStore
    from fleet.settings.environment import Settings
    from policies.rules.catalogue import Catalogue

Calibrations = Mapping[CalibrationKey, Calibration]


def calibrate(
    labels: Annotated[
        Path | None, typer.Option(help="Judged answers, one JSON object a line, in place of the feedback on NATS.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write all that is then in force here; with --labels only here."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    roll_back: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Go back to the one before, such as llama-8b/classify.intent/token."),
    ] = None,
    allow_fewer_tasks: Annotated[
        bool,
        typer.Option(
            "--allow-fewer-tasks",
            help="Replace a wide calibration also by one that lacks some of its tasks; their jobs become unfamiliar.",
        ),
    ] = False,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Fit confidence and thresholds to feedback and comparisons, and put in force whatever is better."""
    output = Output(as_json)
    with friendly(as_json), needs_learn("fleet calibrate"):
        check_output("--output", file, (labels,))
        settings = settings_for(nats_url)
        if roll_back is not None:
            asyncio.run(_roll_back(settings, output, roll_back, dry_run))
            return
        fitted = asyncio.run(_calibrate(settings, output, CalibrationJob(labels, file, dry_run, allow_fewer_tasks)))
    if not fitted:
        raise typer.Exit(FAILED)


@dataclass(frozen=True, slots=True)
class CalibrationJob:
    """The source of the labels and the destination of the calibrations. From a file to a file, NATS is not needed."""

    labels: Path | None
    file: Path | None
    dry_run: bool
    allow_fewer_tasks: bool = False

    @property
    def is_online(self) -> bool:
        return self.labels is None or self.file is None


async def _calibrate(settings: Settings, output: Output, plan: CalibrationJob) -> bool:
    """Fit, put in force and show. Return False if there were labels and nothing could be fitted.

    Raises: QueueUnavailable; ConfigError or OSError if a file cannot be used.
    """
    from fleet.app import rules_of
    from fleet.lab.learning.fitting import fit_all, in_force_after

    rules = rules_of(settings)
    found = (await _labels(settings, plan)).for_calibration(rules.training)
    in_force = await _in_force(settings, plan, rules.catalogue)
    output.progress(f"fitting {len(found.labels):,} labels")
    outcomes = await asyncio.to_thread(
        fit_all, found.labels, in_force, rules, time.time(), allow_fewer_tasks=plan.allow_fewer_tasks
    )
    if not plan.dry_run:
        await _put(settings, plan, [each.to_store for each in outcomes if each.to_store])
        if plan.file is not None:
            _save(plan.file, in_force_after(in_force, outcomes))
    _show(output, plan, found, outcomes)
    return not outcomes or any(each.calibration is not None or each.waits for each in outcomes)


async def _labels(settings: Settings, plan: CalibrationJob) -> CollectedLabels:
    from fleet.app import open_journal
    from fleet.lab.learning.collected import CollectedLabels, collect
    from fleet.lab.learning.files import read_labels

    if plan.labels is not None:
        return CollectedLabels(read_labels(plan.labels), {})
    async with opened(settings, open_journal) as journal:
        return await collect(journal)


async def _in_force(settings: Settings, plan: CalibrationJob, catalogue: Catalogue) -> Calibrations:
    from fleet.app import load_calibrations, shipped_calibrations

    if plan.is_online:
        at_start = settings.calibrations_path
        prior = shipped_calibrations(settings.profile) if at_start is None else load_calibrations(at_start, catalogue)
        async with _store(settings) as store:
            return {**prior, **_not_hiding(prior, await store.read_all(), catalogue)}
    assert plan.file is not None, "or it would be online"
    return load_calibrations(plan.file, catalogue) if plan.file.exists() else {}


def _not_hiding(prior: Calibrations, stored: Calibrations, catalogue: Catalogue) -> Calibrations:
    """Return what dispatchers use: of calibrations for models no longer deployed, only the promise's tests count."""
    from policies.confidence.lookup import is_of

    gone = [
        each
        for key, each in stored.items()
        if key in prior and not ((target := catalogue.targets.get(key.target)) and is_of(each, target))
    ]
    return {**stored, **{each.key: replace(prior[each.key], looks=each.looks) for each in gone}}


async def _put(settings: Settings, plan: CalibrationJob, changed: Sequence[Calibration]) -> None:
    if plan.is_online and changed:
        async with _store(settings) as store:
            await store.put(changed)


def _save(file: Path, calibrations: Calibrations) -> None:
    from fleet.app import save_calibrations

    save_calibrations(file, calibrations.values())


def _store(settings: Settings) -> AbstractAsyncContextManager[CalibrationStore]:
    from fleet.app import open_calibrations

    return opened(settings, open_calibrations)


def _show(output: Output, plan: CalibrationJob, found: CollectedLabels, outcomes: Sequence[FitOutcome]) -> None:
    output.object(as_json(found, outcomes, written=not plan.dry_run))
    if outcomes:
        output.show(view(outcomes), "")
    else:
        output.say("no labels yet: give feedback with `fleet feedback`, or wait for the dispatchers' own comparisons")
    for line in unused_lines(found):
        output.say(line)
    if any(each.waits and each.lost for each in outcomes):
        output.say("to replace one that stays all the same: --allow-fewer-tasks; jobs of its tasks become unfamiliar")
    accepted = sum(each.accepted for each in outcomes)
    verb = "would be put in force" if plan.dry_run else "put in force"
    output.say(f"{accepted} of {len(outcomes)} calibrations {verb}")
    if plan.file is not None and not plan.dry_run:
        output.say(f"file  {plan.file}")


async def _roll_back(settings: Settings, output: Output, words: str, dry_run: bool) -> None:
    """Put the calibration before the present one back in force.

    Raises: ConfigError if there is none to go back to.
    """
    key = key_of(words)
    async with _store(settings) as store:
        before = (await store.read_all()).get(key)
        earlier = None if dry_run else await store.roll_back(key)
    versions = {"before": before and before.version, "after": earlier and earlier.version}
    output.object({"key": str(key), **versions})
    output.say(f"{key}: {versions['before']} → {versions['after'] or 'the one before it'}")
