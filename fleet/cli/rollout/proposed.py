"""Starts an experiment that another command proposes, or only shows its file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.cli.connection import opened
from fleet.cli.output import Output
from fleet.cli.rollout.view import show_step
from fleet.model.errors import ConfigError
from fleet.model.experiment import Unit
from policies.experiments import checks

if TYPE_CHECKING:
    from fleet.model.experiment import Experiment
    from fleet.settings.environment import Settings
    from policies.rules.rules import Rules

Share = Annotated[float, typer.Option(help="With --start: the arm's share of tenants or conversations.")]
OfUnit = Annotated[Unit, typer.Option("--unit", help="With --start: whom the arm is drawn for.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="With --start: only show the experiment file.")]


def check_dry_run(dry_run: bool, starts: bool) -> None:
    """Check that there is something to try. Raises: ConfigError for a dry run of what starts nothing."""
    if dry_run and not starts:
        raise ConfigError("--dry-run", "goes with --start: without it nothing is started")


def start_proposed(
    document: Mapping[str, Any], settings: Settings, rules: Rules, output: Output, dry_run: bool
) -> None:
    """Show the experiment, check it as `fleet rollout start` does, and start it unless it is a dry run.

    Raises: ConfigError, InvalidExperiment, QueueUnavailable.
    """
    import yaml

    from fleet.app.experiments import checked
    from fleet.settings.experiments import experiment_in

    written = yaml.safe_dump(dict(document), sort_keys=False)
    experiment = checked(experiment_in(document, Path(f"{document['name']}.yaml")), settings, rules)
    output.show(written.rstrip())
    if dry_run:
        output.object({"experiment": dict(document), "started": False})
        return
    output.show("")
    show_step(asyncio.run(_start(experiment, settings)), output)


async def _start(experiment: Experiment, settings: Settings) -> Experiment:
    from fleet.app import open_experiments

    async with opened(settings, open_experiments) as store:
        return await store.change(lambda there: checks.started(experiment, there.values(), time.time()))
