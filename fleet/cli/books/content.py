"""`fleet content`: stores the prompts and answers that rules collect, and shows them on record."""

from __future__ import annotations

import asyncio
import getpass
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fleet.cli.connection import opened, settings_for
from fleet.cli.extras import needs_ledger
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly
from fleet.model.errors import FleetError
from fleet.signals import when_told_to_end

if TYPE_CHECKING:
    from fleet.content.collector import ContentProgress
    from fleet.content.reading import ContentReader
    from fleet.content.store import ContentStore
    from fleet.settings.environment import Settings
    from fleet.telemetry.metrics.families import Family

MOST_LISTED = 100

content_app = typer.Typer(help="Prompts and answers, where a rule collects them.", no_args_is_help=True)

ContentUrl = Annotated[
    str | None,
    typer.Option(
        "--content-url",
        envvar="FLEET_CONTENT_URL",
        help="The database: sqlite:///path or postgresql://user:password@host/database.",
    ),
]
Limit = Annotated[int, typer.Option(min=1, help="The newest ones, so many.")]


@content_app.command()
def run(nats_url: NatsUrl = None, content_url: ContentUrl = None, as_json: AsJson = False) -> None:
    """Store contents as they come, until SIGTERM. One process for a fleet is enough."""
    with friendly(as_json), needs_ledger("fleet content"):
        asyncio.run(_run(settings_for(nats_url, content_url=content_url)))
        Output(as_json).object({"stopped": True})


@content_app.command()
def show(
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")],
    tenant: Annotated[str, typer.Option(envvar="FLEET_TENANT", help="Whose job.")],
    content_url: ContentUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show what a job asked and was answered. The reading is put on record first."""
    with friendly(as_json), needs_ledger("fleet content"):
        from fleet.content.vault import Vault

        vault = Vault.from_environment()
        with _reader(content_url) as reader:
            found = reader.show(vault, tenant, job_id, getpass.getuser())
        if found is None:
            raise FleetError(f"there is no content of {job_id}: not collected, too old, or erased")
        output = Output(as_json)
        told = {"request": found.request, "message": found.message, "status": found.status}
        output.object({"job_id": job_id, "tenant": tenant, **told, "answers": [asdict(each) for each in found.answers]})
        output.say(json.dumps(found.request, indent=2, ensure_ascii=False))
        output.say(json.dumps(found.message, indent=2, ensure_ascii=False))


@content_app.command("list")
def list_(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task's.")] = None,
    limit: Limit = MOST_LISTED,
    content_url: ContentUrl = None,
    as_json: AsJson = False,
) -> None:
    """List contents, newest first, without opening any. The reading is put on record first."""

    def rows(reader: ContentReader) -> list[tuple[str, ...]]:
        found = reader.list(tenant, task, limit, getpass.getuser())
        return [(_moment(each.at), each.tenant, each.job_id, each.task, each.target or "-") for each in found]

    _print(content_url, as_json, "contents", ("at", "tenant", "job_id", "task", "target"), rows)


@content_app.command()
def reads(limit: Limit = MOST_LISTED, content_url: ContentUrl = None, as_json: AsJson = False) -> None:
    """Show who has read what, newest first."""

    def rows(reader: ContentReader) -> list[tuple[str, ...]]:
        return [(_moment(each.at), each.who, each.asked) for each in reader.reads(limit)]

    _print(content_url, as_json, "reads", ("at", "who", "asked"), rows)


def _print(
    content_url: str | None,
    as_json: bool,
    what: str,
    names: tuple[str, ...],
    rows: Callable[[ContentReader], list[tuple[str, ...]]],
) -> None:
    with friendly(as_json), needs_ledger("fleet content"):
        with _reader(content_url) as reader:
            found = rows(reader)
        output = Output(as_json)
        output.object({what: [dict(zip(names, row, strict=True)) for row in found]})
        table = Table(box=None, padding=(0, 1), pad_edge=False)
        for name in names:
            table.add_column(name, no_wrap=name != "asked", overflow="fold")
        for row in found:
            table.add_row(*row)
        output.show(table if found else f"no {what}")


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


async def _run(settings: Settings) -> None:
    from fleet import logs
    from fleet.app import open_contents
    from fleet.app.metrics import metrics_of
    from fleet.content.collector import ContentCollector

    logs.configure(settings.log_level.upper())
    with _store(settings) as store:
        async with opened(settings, open_contents) as feed:
            collector = ContentCollector(feed, store, settings.content_keep_days)
            when_told_to_end(collector.drain)
            # A database that is away is no reason to start this process again: it waits.
            progress = collector.progress
            async with metrics_of("content", lambda: collector_metrics(progress, time.time()), lambda: True, settings):
                await collector.run()


def collector_metrics(progress: ContentProgress, now: float) -> Iterator[Family]:
    """Yield the metrics of the collector of contents."""
    from fleet.telemetry.metrics import catalogue
    from fleet.telemetry.metrics.families import family

    since = progress.waiting_since
    yield family(catalogue.CONTENT_LAG_SECONDS, {(): 0.0 if since is None else max(0.0, now - since)})
    yield family(catalogue.CONTENTS_STORED, {(): progress.stored})
    yield family(catalogue.CONTENT_ERRORS, {(): progress.errors})


@contextmanager
def _reader(content_url: str | None) -> Iterator[ContentReader]:
    from fleet.content.reading import open_content_reader

    with open_content_reader(settings_for(None, content_url=content_url).content_address) as reader:
        yield reader


@contextmanager
def _store(settings: Settings) -> Iterator[ContentStore]:
    from fleet.content.store import VARIABLE, ContentStore
    from fleet.content.vault import Vault
    from fleet.ledger.database import database_url, engine_for

    vault = Vault.from_environment()
    engine = engine_for(database_url(settings.content_address, VARIABLE))
    try:
        yield ContentStore(engine, vault)
    finally:
        engine.dispose()
