"""`fleet learn`: from the week's escalations to an adapter that answers them, one recorded step after the other."""

from __future__ import annotations

import asyncio
import fcntl
import math
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.books.content import ContentUrl
from fleet.cli.connection import opened, settings_for
from fleet.cli.extras import needs_learn, needs_ledger, needs_train
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import FAILED, Output, friendly
from fleet.model.errors import ConfigError, FleetError, InvalidTurn
from fleet.model.turn import Turn, TurnStage

if TYPE_CHECKING:
    from fleet.cli.learn.parts import Loop, Stores
    from fleet.settings.environment import Settings
    from policies.learning.worth import Judged

learn_app = typer.Typer(help="Teach small models what they escalate, turn by turn.", no_args_is_help=True)

Folder = Annotated[
    Path, typer.Option("--folder", envvar="FLEET_LEARNING_FOLDER", help="Where exports and adapters are kept.")
]
Tasks = Annotated[list[str] | None, typer.Option("--task", help="Only this task; repeatable.")]
Tenants = Annotated[
    list[str] | None, typer.Option("--tenant", help="Only of this tenant, which must have agreed; repeatable.")
]


@learn_app.command()
def run(
    task: Tasks = None,
    tenant: Tenants = None,
    once: Annotated[bool, typer.Option("--once", help="Do one step of each turn at most.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would begin, and change nothing.")] = False,
    folder: Folder = Path("learning"),
    rank: Annotated[int, typer.Option(help="Directions in which each module is adapted.")] = 64,
    rate: Annotated[float, typer.Option(help="The highest learning rate.")] = 2e-3,
    steps: Annotated[int, typer.Option(min=1, help="Steps to train for.")] = 1200,
    share: Annotated[float, typer.Option(help="Share of the jobs in a roll-out.")] = 0.1,
    weeks: Annotated[float, typer.Option(help="How long a roll-out may last before it is given up.")] = 4.0,
    content_url: ContentUrl = None,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Begin the turns that are worth it, and do all steps that are due. Run it daily; a kill loses nothing."""
    output = Output(as_json)
    with friendly(as_json), needs_ledger("fleet learn"), needs_learn("fleet learn"), needs_train("fleet learn"):
        from fleet.app import rules_of
        from fleet.cli.data.reading import of_tenants
        from fleet.cli.learn.parts import Loop, Recipe, commands_of

        _check_rollout(share, weeks)
        settings = settings_for(nats_url, content_url=content_url)
        rules = of_tenants(rules_of(settings), tenant)

        async def do() -> bool:
            async with _stores(settings) as stores:
                recipe = Recipe(rank, rate, steps)
                loop = Loop(
                    stores, rules, folder, recipe, commands_of(settings), time.time, output.progress, share, weeks
                )
                with _alone(folder, dry_run):
                    return await _run(loop, settings, task, output, once, dry_run)

        failed = asyncio.run(do())
    if failed:
        raise typer.Exit(FAILED)


def _check_rollout(share: float, weeks: float) -> None:
    if not 0.0 < share <= 1.0:
        raise ConfigError("--share", "must be above 0 and at most 1")
    if not 0.0 < weeks < math.inf:
        raise ConfigError("--weeks", "must be above 0, and finite: a roll-out without evidence ends some day")


async def _run(
    loop: Loop, settings: Settings, tasks: Sequence[str] | None, output: Output, once: bool, dry_run: bool
) -> bool:
    """Begin and advance turns; return whether one of them failed, which does not keep the others from going on."""
    from fleet.cli.learn.loop import advance, as_json, begin
    from fleet.cli.learn.view import lessons_json, lessons_view, turns_view

    judged = await _judged(loop, settings, tasks)
    output.show(*lessons_view(judged))
    failures: dict[str, str] = {}
    if not dry_run:
        await begin(judged, loop)
        for turn in await _running(loop, tasks):
            try:
                await advance(turn, loop, 1 if once else None)
            except FleetError as error:
                failures[turn.name] = str(error)
                output.say(f"{turn.name}: {error}")
    turns = (await loop.stores.turns.read_all()).values()
    output.object({"lessons": lessons_json(judged), "turns": [as_json(each) for each in turns], "failed": failures})
    output.show("", *turns_view(turns))
    return bool(failures)


async def _judged(loop: Loop, settings: Settings, tasks: Sequence[str] | None) -> Sequence[Judged]:
    from fleet.cli.data.reading import choose
    from fleet.cli.learn.lessons import lessons_in, teachable_in
    from fleet.lab.data.licences import load_licences
    from policies.learning.worth import judge

    rules, stores = loop.rules, loop.stores
    chosen = await choose(settings, rules, tasks, "learn run")
    teachable = teachable_in(rules.catalogue)
    turns = (await stores.turns.read_all()).values()
    lessons = lessons_in(chosen.examples, load_licences(None), teachable, rules.training.tenants, turns)
    experiments = (await stores.experiments.read_all()).values()
    adapters = (await stores.adapters.read_all()).values()
    return judge(lessons, teachable, rules.training.goal, turns, experiments, loop.now(), adapters)


async def _running(loop: Loop, tasks: Sequence[str] | None) -> list[Turn]:
    found = (await loop.stores.turns.read_all()).values()
    return [each for each in found if each.stage is TurnStage.RUNNING and (tasks is None or each.task in tasks)]


@contextmanager
def _alone(folder: Path, dry_run: bool) -> Iterator[None]:
    """Keep other runners off the folder. Raises: InvalidTurn if one is at work there."""
    if dry_run:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InvalidTurn("--folder", f"another `fleet learn run` works in {folder}") from None
        yield


@asynccontextmanager
async def _stores(settings: Settings) -> AsyncIterator[Stores]:
    from fleet.app import open_adapters, open_calibrations, open_experiments, open_turns
    from fleet.cli.learn.parts import Stores

    async with AsyncExitStack() as stack:
        turns = await stack.enter_async_context(opened(settings, open_turns))
        experiments = await stack.enter_async_context(opened(settings, open_experiments))
        adapters = await stack.enter_async_context(opened(settings, open_adapters))
        calibrations = await stack.enter_async_context(opened(settings, open_calibrations))
        yield Stores(turns, experiments, adapters, calibrations)


@learn_app.command()
def status(nats_url: NatsUrl = None, as_json: AsJson = False) -> None:
    """Show each turn: where it stands, since when, and why."""
    from fleet.cli.learn.loop import as_json as turn_json
    from fleet.cli.learn.view import turns_view

    async def do() -> None:
        from fleet.app import open_turns

        output = Output(as_json)
        async with opened(settings_for(nats_url), open_turns) as store:
            found = (await store.read_all()).values()
        output.object({"turns": [turn_json(each) for each in found]})
        output.show(*turns_view(found))

    with friendly(as_json):
        asyncio.run(do())


@learn_app.command()
def undo(
    turn: Annotated[str, typer.Argument(metavar="TURN", help="Its name, as `fleet learn status` shows it.")],
    why: Annotated[str, typer.Option(help="The reason, for whoever looks later.")] = "undone by hand",
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Undo a turn: what answered before answers again, at once, in every dispatcher."""
    output = Output(as_json)
    with friendly(as_json):
        from fleet.app import rules_of
        from fleet.cli.learn.loop import as_json as turn_json
        from fleet.cli.learn.loop import undo as undone
        from fleet.cli.learn.parts import Loop, Recipe, commands_of

        settings = settings_for(nats_url)

        async def do() -> None:
            async with _stores(settings) as stores:
                found = (await stores.turns.read_all()).get(turn)
                if found is None:
                    raise InvalidTurn("TURN", f"{turn!r} is none of the turns: `fleet learn status`")
                unused = Recipe(0, 0.0, 0)
                loop = Loop(
                    stores, rules_of(settings), Path(), unused, commands_of(settings), time.time, output.progress
                )
                after = await undone(found, why, loop)
                output.object(turn_json(after))
                output.show(f"{turn} is undone: {why}")

        asyncio.run(do())
