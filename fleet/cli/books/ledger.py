"""`fleet ledger`: writes the accounts to a database, says how far it is, and writes it again from the stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fleet.cli.connection import opened, settings_for
from fleet.cli.extras import needs_ledger
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly
from fleet.model.errors import QueueUnavailable
from fleet.signals import when_told_to_end

if TYPE_CHECKING:
    from fleet.ledger.reading import LedgerReader
    from fleet.ledger.store import LedgerStore
    from fleet.ledger.writer import LedgerProgress, LedgerWriter
    from fleet.ports import LedgerFeed
    from fleet.settings.environment import Settings
    from fleet.telemetry.metrics.families import Family

ledger_app = typer.Typer(help="The accounts in a database.", no_args_is_help=True)

LedgerUrl = Annotated[
    str | None,
    typer.Option(
        "--ledger-url",
        envvar="FLEET_LEDGER_URL",
        help="The database: sqlite:///path or postgresql://user:password@host/database.",
    ),
]


@ledger_app.command()
def run(nats_url: NatsUrl = None, ledger_url: LedgerUrl = None, as_json: AsJson = False) -> None:
    """Write every line of the accounts to the database, until SIGTERM. One process does; a second one stands by."""
    with friendly(as_json), needs_ledger("fleet ledger"):
        asyncio.run(_run(settings_for(nats_url, ledger_url=ledger_url)))
        Output(as_json).object({"stopped": True})


@ledger_app.command()
def status(nats_url: NatsUrl = None, ledger_url: LedgerUrl = None, as_json: AsJson = False) -> None:
    """Show what the database holds, and how many lines are still to be written to it."""
    with friendly(as_json), needs_ledger("fleet ledger"):
        asyncio.run(_status(settings_for(nats_url, ledger_url=ledger_url), Output(as_json)))


@ledger_app.command()
def replay(
    discard: Annotated[
        bool, typer.Option("--discard", help="Also if lines or checkpoints are lost that the stream cannot give back.")
    ] = False,
    nats_url: NatsUrl = None,
    ledger_url: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Empty the database and write it again from the stream. Stop `fleet ledger run` first."""
    with friendly(as_json), needs_ledger("fleet ledger"):
        asyncio.run(_replay(settings_for(nats_url, ledger_url=ledger_url), Output(as_json), discard))


async def _run(settings: Settings) -> None:
    from fleet import logs
    from fleet.app.metrics import metrics_of

    logs.configure(settings.log_level.upper())
    async with _writing(settings) as (writer, _, _):
        when_told_to_end(writer.drain)
        # A database that is away is no reason to start this process again: it waits.
        async with metrics_of("ledger", lambda: writer_metrics(writer.progress, time.time()), lambda: True, settings):
            await writer.run()


def writer_metrics(progress: LedgerProgress, now: float) -> Iterator[Family]:
    """Yield the metrics of the ledger's writer. One that waits for another says nothing of how far that one is."""
    from fleet.telemetry.metrics import catalogue
    from fleet.telemetry.metrics.families import family

    since = progress.waiting_since
    if not progress.is_standby:
        yield family(catalogue.LEDGER_LAG_LINES, {(): progress.waiting_lines})
        yield family(catalogue.LEDGER_LAG_SECONDS, {(): 0.0 if since is None else max(0.0, now - since)})
        yield family(catalogue.LEDGER_MISSED, {} if progress.missed_lines is None else {(): progress.missed_lines})
    yield family(catalogue.LEDGER_LINES, {(): progress.lines})
    yield family(catalogue.LEDGER_ERRORS, {(): progress.errors})


async def _replay(settings: Settings, output: Output, discard: bool) -> None:
    from fleet import logs

    logs.configure("WARNING")
    async with _writing(settings) as (writer, store, feed):
        await writer.claim()
        await asyncio.to_thread(store.open)
        stream = await feed.stream()
        await asyncio.to_thread(store.empty, stream.first_sequence, discard)
        output.progress(f"{stream.last_sequence - stream.first_sequence + 1:,} lines at most")
        await writer.catch_up()
    output.object({"lines": writer.progress.lines})
    output.say(f"{writer.progress.lines:,} lines written")


async def _status(settings: Settings, output: Output) -> None:
    from fleet.ledger.database import database_url, shown

    with _reader(settings) as reader:
        facts = {
            "database": shown(database_url(settings.ledger_address)),
            **await asyncio.to_thread(_facts, reader),
            "waiting": await _waiting(settings),
        }
    output.object(facts)
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _shown(value))
    output.show(table)


def _facts(reader: LedgerReader) -> dict[str, Any]:
    state, days = asdict(reader.state()), reader.days()
    last_at = state.pop("last_at")
    return {
        "lines": reader.lines(),
        "first_day": days[0].day if days else None,
        "last_day": days[-1].day if days else None,
        "last_line_age_seconds": round(time.time() - last_at, 1) if last_at else None,
        **{name: state[name] for name in ("last_seq", "unreadable", "duplicates", "missed")},
    }


async def _waiting(settings: Settings) -> int | None:
    """Return the lines that are still to be written; None if no broker answers."""
    try:
        async with _feed(settings) as feed:
            return (await feed.stream()).waiting
    except QueueUnavailable:
        return None


def _shown(value: object) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


@contextmanager
def _reader(settings: Settings) -> Iterator[LedgerReader]:
    from fleet.ledger.reading import open_reader

    with open_reader(settings.ledger_address) as reader:
        yield reader


@asynccontextmanager
async def _writing(settings: Settings) -> AsyncIterator[tuple[LedgerWriter, LedgerStore, LedgerFeed]]:
    """Provide a writer with its database and its feed, closed on the way out."""
    from fleet.ledger.archive import archive_closed_days
    from fleet.ledger.audit.keys import signing_with
    from fleet.ledger.database import database_url, engine_for
    from fleet.ledger.store import LedgerStore
    from fleet.ledger.writer import LedgerWriter

    signing = signing_with(settings.ledger_key_file, settings.ledger_name)
    engine = engine_for(database_url(settings.ledger_address))
    try:
        async with _feed(settings) as feed:
            store = LedgerStore(engine, time.time, signing)
            archive = partial(archive_closed_days, engine, settings.archive_dir)
            yield LedgerWriter(feed, store, settings.ledger_keep_days or None, archive=archive), store, feed
    finally:
        engine.dispose()


def _feed(settings: Settings) -> AbstractAsyncContextManager[LedgerFeed]:
    from fleet.app import open_ledger_feed

    return opened(settings, open_ledger_feed)
