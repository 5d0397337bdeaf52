"""The commands of `fleet bulk`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.bulk.fetching import RowOrder
from fleet.cli.bulk import options
from fleet.cli.connection import settings_for
from fleet.cli.extras import needs_bulk, needs_learn
from fleet.cli.options import AsJson, NatsUrl, Tenant
from fleet.cli.output import Output, friendly
from fleet.files import check_output

if TYPE_CHECKING:
    from fleet.cli.bulk.results import Wanted
    from fleet.cli.bulk.submit import BulkOrder
    from fleet.settings.environment import Settings

bulk_app = typer.Typer(help="Files of jobs.", no_args_is_help=True)

BatchId = Annotated[str, typer.Argument(metavar="BATCH", help="The batch's id, as `fleet bulk submit` printed it.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it is there already.")]

Order = Annotated[RowOrder, typer.Option("--order", help="finished: as they came; input: in the order of the file.")]


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
    file: options.Rows,
    template: options.Template = None,
    task: options.TaskOfRows = None,
    id_column: options.IdColumn = None,
    fields: options.Fields = None,
    keep_going: options.KeepGoing = False,
    output: options.WaitedFor = None,
    row_order: Order = RowOrder.FINISHED,
    overwrite: Overwrite = False,
    problems: options.Problems = None,
    deadline: options.Deadline = "24h",
    max_cost: options.MaxCost = None,
    plan: options.PlanOfRows = None,
    tier: options.TierOfRows = None,
    cloud: options.CloudOfRows = None,
    metadata: options.Metadata = None,
    dry: options.DryRun = False,
    recorded: options.Recorded = None,
    nats_url: NatsUrl = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Check a file by line, store it on the server, and let the fleet run it; prints the batch's id."""
    from fleet.cli.bulk import submit as submitting

    with friendly(as_json), needs_bulk("fleet bulk submit"):
        table = options.table_of(template, task, id_column, fields or [])
        inputs = [each for each in (file, template, *(recorded or [])) if each]
        check_output("--problems", problems, inputs)
        limits = options.seconds_of("--deadline", deadline), options.nano_usd(max_cost)
        terms = options.defaults_of(plan, tier, cloud), options.metadata_of(metadata or [])
        order = submitting.BulkOrder(file, table, keep_going, *limits, *terms, problems)
        if dry:
            _forecast(settings_for(nats_url, tenant), Output(as_json), order, recorded or [])
            return
        wanted = _wanted(output, row_order, overwrite, inputs, problems)
        asyncio.run(submitting.submit(settings_for(nats_url, tenant), Output(as_json), order, wanted))


def _forecast(settings: Settings, output: Output, order: BulkOrder, recorded: Sequence[Path]) -> None:
    with needs_learn("fleet bulk submit --dry-run"):
        from fleet.cli.bulk.dry_run import dry_run

        dry_run(settings, output, order, recorded)


def _wanted(
    output: Path | None,
    order: RowOrder,
    overwrite: bool,
    inputs: Sequence[Path] = (),
    problems: Path | None = None,
) -> Wanted | None:
    """Return where the results are to be written, if they are wanted.

    Raises: ConfigError if they cannot be written there.
    """
    from fleet.bulk.writing.whole import check_sink, part_of
    from fleet.cli.bulk.results import Wanted

    if output is None:
        return None
    check_sink(output, overwrite, inputs)
    check_output("--problems", problems, [output, part_of(output)])
    return Wanted(output, order)


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
def retry_failed(
    batch: BatchId,
    output: options.WaitedFor = None,
    row_order: Order = RowOrder.FINISHED,
    overwrite: Overwrite = False,
    nats_url: NatsUrl = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Make a new batch of those rows of an ended one that have no answer."""
    from fleet.cli.bulk.retry import retry_failed as retry

    with friendly(as_json), needs_bulk("fleet bulk retry-failed"):
        wanted = _wanted(output, row_order, overwrite)
        asyncio.run(retry(settings_for(nats_url, tenant), Output(as_json), batch, wanted))


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
