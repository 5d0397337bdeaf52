"""`fleet rollout`: start, look at, widen, stop and promote an experiment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.adapters.store import adapters_at
from fleet.cli.connection import opened, settings_for
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly
from fleet.cli.rollout.view import show_all, show_one, show_step
from fleet.model.errors import InvalidExperiment
from fleet.model.experiment import Experiment
from policies.adapters.steps import check_arms
from policies.experiments import checks

if TYPE_CHECKING:
    from fleet.ports import ExperimentStore

rollout_app = typer.Typer(help="Another way to answer, tried on a share of the jobs.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The experiment's name, as its file says it.")]
OfArm = Annotated[str | None, typer.Option("--arm", help="Which arm, where there are two.")]
There = Mapping[str, Experiment]


@rollout_app.command()
def start(
    file: Annotated[Path, typer.Argument(help="The experiment as YAML.")],
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Start an experiment: every dispatcher draws arms for the jobs that come in from now on."""
    with friendly(as_json):
        from fleet.app import read_experiment, rules_of

        settings = settings_for(nats_url)
        experiment = read_experiment(file, settings, rules_of(settings))

        async def do() -> None:
            if any(arm.adapter for arm in experiment.arms):
                async with adapters_at(nats_url) as adapters:
                    check_arms(await adapters.read_all(), experiment)
            await _step(nats_url, as_json, lambda there: checks.started(experiment, there.values(), time.time()))

        asyncio.run(do())


@rollout_app.command()
def status(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this one, with its evidence.")] = None,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show the experiments, or what the accounts say of the arms of one."""
    with friendly(as_json):
        asyncio.run(_with_store(nats_url, lambda store: _show(store, Output(as_json), name)))


async def _show(store: ExperimentStore, output: Output, name: str | None) -> None:
    from fleet.app import evidence_on

    there = await store.read_all()
    if name is None:
        show_all(list(there.values()), output)
    else:
        experiment = _named(there, name)
        show_one(experiment, await evidence_on(store, experiment), output)


@rollout_app.command()
def ramp(
    name: Name,
    share: Annotated[float, typer.Option(help="The arm's new share of tenants or conversations, from 0 to 1.")],
    arm: OfArm = None,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Give an arm a larger share; all who are in it stay."""
    with friendly(as_json):
        asyncio.run(_step(nats_url, as_json, lambda there: checks.ramped(_named(there, name), arm, share, time.time())))


@rollout_app.command()
def stop(
    name: Name,
    why: Annotated[str, typer.Option(help="The reason, for whoever looks later.")] = "stopped by hand",
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Stop an experiment: all jobs go on as control, at once, in every dispatcher."""
    with friendly(as_json):
        asyncio.run(_step(nats_url, as_json, lambda there: checks.stopped(_named(there, name), why, time.time())))


@rollout_app.command()
def promote(
    name: Name,
    arm: OfArm = None,
    force: Annotated[bool, typer.Option("--force", help="Also without the evidence.")] = False,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Give everybody an arm that is shown to be as good, by the margin, and cheaper."""
    with friendly(as_json):
        asyncio.run(_with_store(nats_url, lambda store: _promote(store, Output(as_json), name, arm, force)))


async def _promote(store: ExperimentStore, output: Output, name: str, arm: str | None, force: bool) -> None:
    from fleet.app import evidence_on

    experiment = _named(await store.read_all(), name)
    winner = checks.promoted(experiment, arm, "", time.time()).winner
    assert winner is not None
    found = await evidence_on(store, experiment)
    lacking = [each for each in found.promotion(winner) if not each.is_shown]
    if lacking and not force:
        said = "; ".join(f"{each.name} has evidence {each.evidence:.3g} of {each.needed:.3g}" for each in lacking)
        raise InvalidExperiment(
            "evidence", f"must show that {winner!r} is as good and cheaper: {said} (--force goes without)"
        )
    why = "forced" if lacking else "as good and cheaper"
    show_step(await store.change(lambda there: checks.promoted(_named(there, name), winner, why, time.time())), output)


async def _step(nats_url: str | None, as_json: bool, change: Callable[[There], Experiment]) -> None:
    async def do(store: ExperimentStore) -> None:
        show_step(await store.change(change), Output(as_json))

    await _with_store(nats_url, do)


async def _with_store(nats_url: str | None, do: Callable[[ExperimentStore], Awaitable[None]]) -> None:
    from fleet.app import open_experiments

    async with opened(settings_for(nats_url), open_experiments) as store:
        await do(store)


def _named(there: There, name: str) -> Experiment:
    if (found := there.get(name)) is None:
        raise InvalidExperiment(
            "name", f"{name!r} is none of the experiments: {', '.join(sorted(there)) or 'there is none'}"
        )
    return found
