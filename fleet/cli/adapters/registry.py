"""`fleet adapters list|show|promote|rollback|withdraw|remove`: which version of an adapter answers."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.adapters.registry_view import show_all, show_one, show_step
from fleet.cli.adapters.store import adapters_at, with_experiments
from fleet.cli.connection import settings_for
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly
from fleet.model.adapter import Alias, RegisteredAdapter
from policies.adapters import steps
from policies.experiments import checks

if TYPE_CHECKING:
    from fleet.settings.environment import Settings
    from policies.rules.rules import Rules

Name = Annotated[str, typer.Argument(metavar="NAME", help="The adapter's name, as it was registered.")]
Why = Annotated[str, typer.Option(help="The reason, for whoever looks later.")]


def list_adapters(nats_url: NatsUrl = None, as_json: AsJson = False) -> None:
    """List the registered adapters: for which jobs they are, and which versions answer and are on trial."""

    async def do() -> None:
        async with adapters_at(nats_url) as store:
            show_all((await store.read_all()).values(), Output(as_json))

    with friendly(as_json):
        asyncio.run(do())


def show(name: Name, nats_url: NatsUrl = None, as_json: AsJson = False) -> None:
    """Show the versions of an adapter: how they were trained, and what their gates found."""

    async def do() -> None:
        async with adapters_at(nats_url) as store:
            show_one(steps.found(await store.read_all(), name), Output(as_json))

    with friendly(as_json):
        asyncio.run(do())


def promote(
    name: Name,
    digest: Annotated[str | None, typer.Option(help="This version, by 8 or more digits; else the candidate.")] = None,
    why: Annotated[str | None, typer.Option(help="The reason, for whoever looks later.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also one that did not pass its gates.")] = False,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Let a version that passed its gates answer: at once, in every dispatcher."""

    async def do() -> None:
        output = Output(as_json)
        async with with_experiments(nats_url) as (store, experiments):
            running = (await experiments.read_all()).values()
            done = await store.change(
                lambda there: steps.promoted(steps.found(there, name), digest, running, why, time.time(), force)
            )
        show_step(done, output)
        _warn(done, settings_for(nats_url), output)

    with friendly(as_json):
        asyncio.run(do())


def _warn(adapter: RegisteredAdapter, settings: Settings, output: Output) -> None:
    """Say why a promoted adapter will answer nothing, as far as this machine's rules and catalogue tell."""
    from fleet.app import rules_of

    rules, target = rules_of(settings), adapter.target
    row = rules.catalogue.targets.get(target)
    if (row is None or row.adapters is None) and target not in settings.adapters.split(","):
        output.progress(
            f"the base answers on until {target} takes adapters: not in the catalogue or FLEET_ADAPTERS here"
        )
    if unasked := ", ".join(sorted(task for task in adapter.tasks if not _asks(rules, task, target))):
        output.progress(
            f"the rules here never send {unasked} to {target}: put it on the ladder (phases.{rules.phase}.tasks)"
        )


def _asks(rules: Rules, task: str, target: str) -> bool:
    """Return whether the task's ladder has the target; true where each request decides its tier."""
    phase, known = rules.phases[rules.phase], rules.tasks.get(task)
    if task in phase.tasks:
        return target in phase.tasks[task]
    return known is None or known.tier is None or target in phase.of_tier(known.tier)


def rollback(
    name: Name,
    why: Why = "rolled back by hand",
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Let the version before answer again, or the base where there was none: at once, in every dispatcher."""

    async def do() -> None:
        async with adapters_at(nats_url) as store:
            seen = steps.found(await store.read_all(), name).aliases.get(Alias.STABLE)
            show_step(
                await store.change(lambda there: steps.rolled_back(steps.found(there, name), seen, why, time.time())),
                Output(as_json),
            )

    with friendly(as_json):
        asyncio.run(do())


def withdraw(
    name: Name,
    why: Why,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Let the base answer, and stop every roll-out of the adapter; its versions stay."""

    async def do() -> None:
        output = Output(as_json)
        async with with_experiments(nats_url) as (store, experiments):
            adapter = steps.found(await store.read_all(), name)
            for trial in steps.trying(adapter, (await experiments.read_all()).values()):
                await experiments.change(
                    lambda there, trial=trial: checks.stopped(there[trial.name], why, time.time())  # type: ignore[misc]
                )
                output.progress(f"roll-out {trial.name} is stopped")
            show_step(
                await store.change(lambda there: steps.withdrawn(steps.found(there, name), why, time.time())), output
            )

    with friendly(as_json):
        asyncio.run(do())


def remove(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Also one that answers jobs.")] = False,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Remove an adapter with all its versions and files."""

    async def do() -> None:
        output = Output(as_json)
        async with with_experiments(nats_url) as (store, experiments):
            running = (await experiments.read_all()).values()
            await store.remove(name, lambda there: steps.check_removal(steps.found(there, name), running, force))
            output.object({"name": name, "removed": True})
            output.show(f"{name} is removed")

    with friendly(as_json):
        asyncio.run(do())
