"""`fleet bulk results`: what has come of a batch, as a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import typer

from fleet.bulk.fetching import RowOrder, fetch
from fleet.bulk.writing.sinks import OutputFormat
from fleet.bulk.writing.whole import check_sink
from fleet.cli.bulk.views import as_json, complaints, outcomes, summary
from fleet.cli.bulk.watch import ended, found
from fleet.cli.connection import open_batches
from fleet.cli.output import NO_ANSWER, Output
from fleet.model.batch import Batch
from fleet.model.errors import FleetError

if TYPE_CHECKING:
    from fleet.ports import BatchStore, FileStore
    from fleet.settings.environment import Settings


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where the results are to be written once the batch has ended, and in which order."""

    sink: Path
    order: RowOrder


async def results(
    settings: Settings, output: Output, batch_id: str, sink: Path, order: RowOrder, overwrite: bool
) -> None:
    """Write the rows that a batch has so far to a file, as Parquet if its name says so.

    Raises: FleetError if there is no such batch, or its rows are gone; ConfigError; OSError; QueueUnavailable.
    """
    check_sink(sink, overwrite)
    async with open_batches(settings) as (files, batches):
        batch = await found(batches, batch_id)
        rows = await written(files, batch, sink, order)
    output.object(as_json(batch) | {"rows_written": rows, "output": str(sink)})
    so_far = "" if batch.status.is_final else f" of {batch.total:,}, so far" if batch.total else " so far"
    output.say(f"{rows:,} rows{so_far} → {sink}")


async def finish(
    files: FileStore,
    batches: BatchStore,
    output: Output,
    batch_id: str,
    wanted: Wanted,
    told: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Wait until the batch has ended, write its rows and show it; in JSON with what is `told` of it besides.

    Raises: like `results`; typer.Exit if no row has an answer.
    """
    output.progress(f"{batch_id}: it goes on if this command ends, and fleet bulk results writes what it has")
    batch = await ended(files, batches, output, batch_id)
    rows = await written(files, batch, wanted.sink, wanted.order)
    show_end(output, batch, wanted.sink, {**told, "rows_written": rows})


def show_end(output: Output, batch: Batch, sink: Path, told: Mapping[str, Any]) -> None:
    """Show an ended batch whose rows are in the file, and what is `told` of it in JSON.

    Raises: typer.Exit if no row has an answer.
    """
    output.object({**as_json(batch), **told, "output": str(sink)})
    output.say(f"{summary(batch)} → {sink}")
    output.show(*filter(None, [outcomes(batch)]), *complaints(batch.problems, batch.problem_count))
    if not batch.completed:
        raise typer.Exit(NO_ANSWER)


async def written(files: FileStore, batch: Batch, sink: Path, order: RowOrder) -> int:
    """Write the rows and return how many.

    Raises: FleetError if the disk is full, or the rows are gone; QueueUnavailable.
    """
    form = OutputFormat.PARQUET if sink.suffix == ".parquet" else OutputFormat.JSONL
    try:
        return await fetch(files, batch, sink, order, form)
    except OSError as error:
        why = error.strerror or error
        rule = f"{sink} cannot be written ({why}); nothing is lost: fleet bulk results {batch.id} writes it again"
        raise FleetError(rule) from error
