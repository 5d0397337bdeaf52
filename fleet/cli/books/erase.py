"""`fleet erase`: destroys what is kept about a tenant or a person, and puts on record that it was done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.books.ledger import LedgerUrl
from fleet.cli.connection import opened, settings_for
from fleet.cli.extras import needs_learn, needs_ledger
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly
from fleet.model.errors import ConfigError, FleetError

if TYPE_CHECKING:
    from fleet.ledger.audit.erase import Subject
    from fleet.ledger.audit.eraser import Erased, Eraser
    from fleet.ledger.audit.learned import Learned
    from fleet.settings.environment import Settings


def erase(
    tenant: Annotated[
        str | None, typer.Option(help="Erase everything of this tenant; with --person, theirs alone.")
    ] = None,
    person: Annotated[str | None, typer.Option(help="Erase every job about this person, as jobs name it.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be erased, and erase nothing.")] = False,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Also withdraw the calibrations that may have been fitted on their jobs.")
    ] = False,
    exports: Annotated[
        list[Path] | None,
        typer.Option(help="A folder with exports of `fleet data`: say which have rows of theirs; repeatable."),
    ] = None,
    nats_url: NatsUrl = None,
    ledger_url: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Erase a tenant or a person: results, feedback, dead letters, cached answers, content, adapters that were trained
    on their rows, and what the accounts say of them.

    Exits 1 if nothing about them is found.
    """
    if tenant is None and person is None:
        raise typer.BadParameter("name a --tenant, a --person, or both")
    with friendly(as_json), needs_ledger("fleet erase"):
        from fleet.ledger.audit.erase import Subject

        subject = Subject(tenant, person)
        settings = settings_for(nats_url, ledger_url=ledger_url)
        held = _exports_with(subject, exports or [])
        asyncio.run(_erase(settings, Output(as_json), subject, held, dry_run, withdraw))


def _exports_with(subject: Subject, folders: Sequence[Path]) -> Mapping[str, int]:
    """Return the exports that have rows of the subject, and how many. Raises: ConfigError naming a folder; OSError."""
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError("--exports", f"{folder} must be a folder")
    if not folders:
        return {}
    with needs_learn("fleet erase --exports"):
        from fleet.lab.data.folder import exports_in, lines_of, read_map

    found: dict[str, int] = {}
    for export in (each for folder in folders for each in exports_in(folder)):
        of_them = lines_of(
            read_map(export),
            lambda each: subject.tenant in (None, each.tenant) and subject.person in (None, each.person),
        )
        if of_them:
            found[str(export)] = len({(each.file, each.line) for each in of_them})
    return found


async def _erase(
    settings: Settings, output: Output, subject: Subject, held: Mapping[str, int], dry_run: bool, withdraw: bool
) -> None:
    async with open_eraser(settings, withdraw) as eraser:
        done = await (eraser.count(subject) if dry_run else eraser.erase(subject, output.progress))
    if done.is_nothing(subject) and not held:
        raise FleetError(f"nothing is found about {_named(subject)}: misspelt, erased already, or never seen")
    output.object({**asdict(done), "exports": held})
    output.say(f"{_counted(done)} {'would be erased' if dry_run else 'erased'}")
    if done.contents is None:
        output.say("no content store: FLEET_CONTENT_URL names one that is elsewhere")
    for line in _of_learned(done.learned, dry_run, withdraw):
        output.say(line)
    for export, lines in held.items():
        output.say(f"{export}: {lines:,} lines are theirs: `fleet data erased` writes the rest; delete this one")
    for erasure in done.erasures:
        output.say(f"recorded as {erasure}")
    if done.unfinished:
        output.say(
            f"{done.unfinished:,} jobs still wait or run, and will leave results: erase again when they have ended"
        )


def _of_learned(learned: Learned, dry_run: bool, withdraw: bool) -> Iterator[str]:
    done = "would be " if dry_run else ""
    for name in learned.adapters:
        yield f"adapter {name} was trained on their rows: {done}removed, the base answers; train it anew without them"
    if learned.unknown:
        yield f"nobody can say whose rows these adapters were trained on: {', '.join(learned.unknown)}"
    for key in learned.calibrations:
        told = f"{done}withdrawn" if withdraw else "numbers only stay; --withdraw takes it back"
        yield f"calibration {key} may have been fitted on their jobs: {told}, `fleet calibrate` fits it anew"


def _named(subject: Subject) -> str:
    named = (("person", subject.person), ("tenant", subject.tenant))
    return " of ".join(f"{kind} {name}" for kind, name in named if name is not None)


def _counted(done: Erased) -> str:
    contents = "" if done.contents is None else f", {done.contents:,} contents"
    return f"{done.rows:,} lines of the accounts, {done.messages:,} messages{contents}"


@asynccontextmanager
async def open_eraser(settings: Settings, withdraw: bool) -> AsyncIterator[Eraser]:
    """Open all that an erasure needs; `withdraw` takes calibrations back. Raises: FleetError."""
    from fleet.app import open_adapters, open_calibrations, open_erasing, open_experiments
    from fleet.content.erasing import ContentEraser
    from fleet.ledger.archive import rewrite
    from fleet.ledger.audit.eraser import Eraser
    from fleet.ledger.audit.learned import Knowledge
    from fleet.ledger.database import check_migrated, database_url, engine_for

    engine = engine_for(database_url(settings.ledger_address))
    async with AsyncExitStack() as stack:
        stack.callback(engine.dispose)
        await asyncio.to_thread(check_migrated, engine)
        broker = await stack.enter_async_context(opened(settings, open_erasing))
        adapters = await stack.enter_async_context(opened(settings, open_adapters))
        calibrations = await stack.enter_async_context(opened(settings, open_calibrations))
        experiments = await stack.enter_async_context(opened(settings, open_experiments))
        knowledge = Knowledge(adapters, calibrations, experiments, time.time, broker if withdraw else None)
        contents = ContentEraser(settings.content_address)
        yield Eraser(broker, engine, contents, knowledge, partial(rewrite, engine, settings.archive_dir))
