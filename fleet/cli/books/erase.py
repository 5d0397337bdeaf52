"""`fleet erase`: destroys what is kept about a tenant or a person, and puts on record that it was done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.books.ledger import LedgerUrl
from fleet.cli.connection import opened, settings_for
from fleet.cli.extras import needs_ledger
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly
from fleet.model.errors import FleetError

if TYPE_CHECKING:
    from fleet.ledger.audit.erase import Subject
    from fleet.ledger.audit.eraser import Erased, Eraser
    from fleet.settings.environment import Settings


def erase(
    tenant: Annotated[
        str | None, typer.Option(help="Erase everything of this tenant; with --person, theirs alone.")
    ] = None,
    person: Annotated[str | None, typer.Option(help="Erase every job about this person, as jobs name it.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be erased, and erase nothing.")] = False,
    nats_url: NatsUrl = None,
    ledger_url: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Erase a tenant or a person: results, feedback, dead letters, content, and what the accounts say of them.

    Exits 1 if nothing about them is found.
    """
    if tenant is None and person is None:
        raise typer.BadParameter("name a --tenant, a --person, or both")
    with friendly(as_json), needs_ledger("fleet erase"):
        from fleet.ledger.audit.erase import Subject

        subject = Subject(tenant, person)
        asyncio.run(_erase(settings_for(nats_url, ledger_url=ledger_url), Output(as_json), subject, dry_run))


async def _erase(settings: Settings, output: Output, subject: Subject, dry_run: bool) -> None:
    async with _eraser(settings) as eraser:
        done = await (eraser.count(subject) if dry_run else eraser.erase(subject, output.progress))
    if done.is_nothing(subject):
        raise FleetError(f"nothing is found about {_named(subject)}: misspelt, erased already, or never seen")
    output.object(asdict(done))
    output.say(f"{_counted(done)} {'would be erased' if dry_run else 'erased'}")
    if done.contents is None:
        output.say("no content store: FLEET_CONTENT_URL names one that is elsewhere")
    for erasure in done.erasures:
        output.say(f"recorded as {erasure}")
    if done.unfinished:
        output.say(
            f"{done.unfinished:,} jobs still wait or run, and will leave results: erase again when they have ended"
        )


def _named(subject: Subject) -> str:
    named = (("person", subject.person), ("tenant", subject.tenant))
    return " of ".join(f"{kind} {name}" for kind, name in named if name is not None)


def _counted(done: Erased) -> str:
    contents = "" if done.contents is None else f", {done.contents:,} contents"
    return f"{done.rows:,} lines of the accounts, {done.messages:,} messages{contents}"


@asynccontextmanager
async def _eraser(settings: Settings) -> AsyncIterator[Eraser]:
    from fleet.app import open_erasing
    from fleet.content.erasing import ContentEraser
    from fleet.ledger.archive import rewrite
    from fleet.ledger.audit.eraser import Eraser
    from fleet.ledger.database import check_migrated, database_url, engine_for

    engine = engine_for(database_url(settings.ledger_address))
    try:
        await asyncio.to_thread(check_migrated, engine)
        async with opened(settings, open_erasing) as broker:
            contents = ContentEraser(settings.content_address)
            yield Eraser(broker, engine, contents, partial(rewrite, engine, settings.archive_dir))
    finally:
        engine.dispose()
