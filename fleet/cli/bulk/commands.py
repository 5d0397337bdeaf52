"""The commands of `fleet bulk` and their options."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet.bulk.fetching import RowOrder
from fleet.cli.connection import settings_for
from fleet.cli.extras import needs_bulk, needs_learn
from fleet.cli.options import AsJson, NatsUrl, Tenant
from fleet.cli.output import Output, friendly
from fleet.model.errors import ConfigError
from fleet.model.job import JobOptions, Plan, Tier

bulk_app = typer.Typer(help="Files of jobs.", no_args_is_help=True)

BatchId = Annotated[str, typer.Argument(metavar="BATCH", help="The batch's id, as `fleet bulk submit` printed it.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it is there already.")]

Order = Annotated[RowOrder, typer.Option("--order", help="finished: as they came; input: in the order of the file.")]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


@bulk_app.command()
def run(
    file: Annotated[Path, typer.Argument(help="JSONL: {task, messages or request} or OpenAI's batch format.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the results go, as JSONL, in the order in which they finish.")
    ],
    name: Annotated[
        str | None,
        typer.Option(
            help="Under one name no line runs twice for 24 hours; without it, the file's content is the name."
        ),
    ] = None,
    window: Annotated[int, typer.Option(min=1, help="Jobs in flight at once.")] = 1000,
    overwrite: Overwrite = False,
    nats_url: NatsUrl = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Answer every line of a file while the command runs. Repeat it after a crash: it continues where it was."""
    from fleet.bulk.writing.whole import check_sink
    from fleet.cli.bulk import direct

    with friendly(as_json):
        check_sink(output, overwrite, [file])
        asyncio.run(direct.run(settings_for(nats_url, tenant), Output(as_json), file, output, name, window))


@bulk_app.command()
def submit(
    file: Annotated[Path, typer.Argument(help="JSONL of jobs; or with --template CSV, TSV, Parquet or JSONL of rows.")],
    template: Annotated[
        Path | None, typer.Option(help="A Jinja2 template that makes the message of each row, from its columns.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="With --template: the task of every row; without it, chat.")] = None,
    id_column: Annotated[
        str | None, typer.Option(help="With --template: the column that names the rows; without it, custom_id or id.")
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", help="With --template: FIELD=JSON, a field of every request; repeatable."),
    ] = None,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Run the good rows even if others are no jobs.")] = (
        False
    ),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Wait until the batch ends, and write its rows here.")
    ] = None,
    row_order: Order = RowOrder.FINISHED,
    overwrite: Overwrite = False,
    problems: Annotated[Path | None, typer.Option(help="Write every row that is no job here, as JSONL.")] = None,
    deadline: Annotated[str, typer.Option(help="How long the rows may take, such as 90m, 8h or 2d.")] = "24h",
    max_cost: Annotated[
        float | None, typer.Option("--max-cost", min=1e-9, help="What all rows may cost together, in US dollars.")
    ] = None,
    plan: Annotated[Plan | None, typer.Option(help="The plan of rows that state none.")] = None,
    tier: Annotated[Tier | None, typer.Option(help="The tier of rows that state none.")] = None,
    cloud: Annotated[
        str | None, typer.Option(help="allow, deny, or providers with commas between; for rows that do not say.")
    ] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, shown with the batch; repeatable.")] = None,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Run nothing: forecast cost and time, as intervals, by simulation.")
    ] = False,
    recorded: Annotated[
        list[Path] | None,
        typer.Option(help="With --dry-run: a recorded run of this fleet, to learn its speeds from; repeatable."),
    ] = None,
    nats_url: NatsUrl = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Check a file by line, store it on the server, and let the fleet run it; prints the batch's id."""
    from fleet.bulk.lines import DEFAULT_TASK
    from fleet.bulk.reading.sources import TableJobs
    from fleet.bulk.writing.whole import check_sink, part_of
    from fleet.cli.bulk.submit import BulkOrder, Wanted
    from fleet.cli.bulk.submit import submit as submit_file
    from fleet.files import check_output
    from policies.money import nano_of

    with friendly(as_json), needs_bulk("fleet bulk submit"):
        table = None
        if template is not None:
            table = TableJobs(template, task or DEFAULT_TASK, id_column, _request(fields or []))
        elif task or id_column or fields:
            raise ConfigError("--task" if task else "--id-column" if id_column else "--set", "goes with --template")
        inputs = [file, *([template] if template else []), *(recorded or [])]
        check_output("--problems", problems, inputs)
        order = BulkOrder(
            source=file,
            table=table,
            keep_going=keep_going,
            window_seconds=seconds_of("--deadline", deadline),
            max_cost_nano_usd=None if max_cost is None else nano_of(max_cost),
            defaults=_defaults(plan, tier, cloud),
            metadata=_metadata(metadata or []),
            problems=problems,
        )
        if dry:
            with needs_learn("fleet bulk submit --dry-run"):
                from fleet.cli.bulk.dry_run import dry_run

                dry_run(settings_for(nats_url, tenant), Output(as_json), order, recorded or [])
            return
        wanted = None
        if output is not None:
            check_sink(output, overwrite, inputs)
            check_output("--problems", problems, [output, part_of(output)])
            wanted = Wanted(output, row_order)
        asyncio.run(submit_file(settings_for(nats_url, tenant), Output(as_json), order, wanted))


@bulk_app.command()
def status(batch: BatchId, nats_url: NatsUrl = None, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show how far a batch is, and the rows that are no jobs."""
    from fleet.cli.bulk import watch as watching

    with friendly(as_json):
        asyncio.run(watching.status(settings_for(nats_url, tenant), Output(as_json), batch))


@bulk_app.command()
def watch(batch: BatchId, nats_url: NatsUrl = None, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show a batch until it ends: rate, time left as an interval, cost, and which targets answer."""
    from fleet.cli.bulk import watch as watching

    with friendly(as_json):
        asyncio.run(watching.watch(settings_for(nats_url, tenant), Output(as_json), batch))


@bulk_app.command()
def results(
    batch: BatchId,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the rows go: .parquet, or JSONL.")],
    order: Order = RowOrder.FINISHED,
    overwrite: Overwrite = False,
    nats_url: NatsUrl = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Write the rows that a batch has so far, at any time: in OpenAI's output format, or as Parquet."""
    from fleet.cli.bulk.results import results as write_results

    with friendly(as_json), needs_bulk("fleet bulk results"):
        settings = settings_for(nats_url, tenant)
        asyncio.run(write_results(settings, Output(as_json), batch, output, order, overwrite))


@bulk_app.command()
def cancel(batch: BatchId, nats_url: NatsUrl = None, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Cancel a batch; its results so far stay."""
    from fleet.cli.bulk import watch as watching

    with friendly(as_json):
        asyncio.run(watching.cancel(settings_for(nats_url, tenant), Output(as_json), batch))


@bulk_app.command("retry-failed")
def retry_failed(batch: BatchId, nats_url: NatsUrl = None, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Make a new batch of those rows of an ended one that have no answer."""
    from fleet.cli.bulk import watch as watching

    with friendly(as_json):
        asyncio.run(watching.retry_failed(settings_for(nats_url, tenant), Output(as_json), batch))


@bulk_app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="The newest ones, so many.")] = 20,
    nats_url: NatsUrl = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """List batches, newest first."""
    from fleet.cli.bulk import watch as watching

    with friendly(as_json):
        asyncio.run(watching.show_list(settings_for(nats_url, tenant), Output(as_json), limit))


def seconds_of(option: str, text: str) -> float:
    """Return a duration such as 90m. Raises: ConfigError."""
    found = _DURATION.fullmatch(text)
    if found is None or float(found[1]) == 0:
        raise ConfigError(option, f"must be a number and a unit, such as 90m, 8h or 2d, not {text}")
    return float(found[1]) * _UNITS[found[2]]


def _request(pairs: list[str]) -> dict[str, Any]:
    request = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            request[name] = json.loads(text)
        except ValueError:
            raise ConfigError("--set", f"must be FIELD=JSON, such as max_tokens=60, not {pair}") from None
    return request


def _defaults(plan: Plan | None, tier: Tier | None, cloud: str | None) -> JobOptions:
    defaults = JobOptions()
    if plan is not None:
        defaults["plan"] = plan
    if tier is not None:
        defaults["tier"] = tier
    if cloud is not None:
        defaults["cloud"] = cloud if cloud in ("allow", "deny") else [name.strip() for name in cloud.split(",")]
    return defaults


def _metadata(pairs: list[str]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    if not all(key and equals for key, equals, _ in split):
        raise ConfigError("--metadata", "must be KEY=VALUE")
    return {key: value for key, _, value in split}
