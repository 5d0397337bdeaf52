"""`fleet bulk submit`: check a file, store it, and make a batch of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from fleet.batches.wishes import new_batch_id
from fleet.bulk.reading.checking import RowChecker, SubmissionCheck, ValidationReport
from fleet.bulk.reading.sources import TableJobs, open_source
from fleet.bulk.uploading import discard, upload
from fleet.cli.bulk.results import Wanted, finish
from fleet.cli.bulk.views import as_json, complaints, problem_json, summary
from fleet.cli.connection import open_batches
from fleet.cli.output import FAILED, Output
from fleet.model.batch import Batch, LineProblem
from fleet.model.errors import FleetError
from fleet.model.job import JobOptions
from fleet.model.money import NanoUsd
from fleet.model.submission import Submission

if TYPE_CHECKING:
    from fleet.ports import BatchStore, FileStore
    from fleet.settings.environment import Settings

ENDPOINT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class BulkOrder:
    """What is to be made of a file; `problems` is where every problem is written, one JSON object a line."""

    source: Path
    table: TableJobs | None = None
    keep_going: bool = False
    window_seconds: float = 86400.0
    max_cost_nano_usd: NanoUsd | None = None
    defaults: JobOptions = field(default_factory=JobOptions)
    metadata: Mapping[str, str] = field(default_factory=dict)
    problems: Path | None = None


async def submit(settings: Settings, output: Output, order: BulkOrder, wanted: Wanted | None = None) -> None:
    """Make a batch and show its id, or if results are wanted wait for them.

    Raises: FleetError if rows are no jobs; typer.Exit if no row has an answer; ConfigError; OSError; QueueUnavailable.
    """
    async with open_batches(settings) as (files, batches):
        batch, report = await create(files, batches, settings.tenant, output, order)
        told = {"rows_read": report.rows, "rows_refused": report.problem_count}
        if wanted is not None:
            await finish(files, batches, output, batch.id, wanted, told)
            return
    output.object(as_json(batch) | told)
    output.say(summary(batch))
    output.say(f"see how far it is: fleet bulk watch {batch.id}")


async def create(
    files: FileStore, batches: BatchStore, tenant: str, output: Output, order: BulkOrder
) -> tuple[Batch, ValidationReport]:
    """Check the file while it is stored, then make a batch of it. Raises: like `submit`."""
    from fleet.cli.bulk.direct import bar

    with bar(output) as progress, checking(order, tenant) as checker, open_source(order.source, order.table) as pieces:
        task = progress.add_task("rows stored", total=None)
        file = await upload(
            files, order.source.name, pieces, checker, time.time, lambda rows: progress.update(task, completed=rows)
        )
        report = checker.finish()
    if not is_runnable(report, order.keep_going):
        await discard(files, file.id)
        refuse(output, order, report)
    show_problems(output, report)
    batch = batch_of(order, tenant, file.id, time.time())
    if not await batches.create(batch):
        raise FleetError(f"batch {batch.id} is there already: run the command again")
    return batch, report


def batch_of(order: BulkOrder, tenant: str, file_id: str, now: float) -> Batch:
    return Batch(
        id=new_batch_id(),
        tenant=tenant,
        endpoint=ENDPOINT,
        input_file_id=file_id,
        completion_window_seconds=order.window_seconds,
        created_at=now,
        metadata=order.metadata,
        defaults=order.defaults,
        keep_going=order.keep_going,
        max_cost_nano_usd=order.max_cost_nano_usd,
    )


@contextmanager
def checking(order: BulkOrder, tenant: str) -> Iterator[RowChecker]:
    """Provide a checker that writes every problem to the file the order names. Raises: OSError."""
    with ExitStack() as stack:
        tell = _nobody
        if order.problems is not None:
            file = stack.enter_context(order.problems.open("w", encoding="utf-8"))

            def tell(problem: LineProblem) -> None:
                file.write(json.dumps(problem_json(problem), ensure_ascii=False) + "\n")

        yield stack.enter_context(RowChecker(accepts(tenant), tell, order.source.parent))


def _nobody(problem: LineProblem) -> None: ...


def accepts(tenant: str) -> SubmissionCheck:
    """Return the check that a dispatcher makes of a submission."""
    from queues.wire.job import check_submission

    def check(submission: Submission) -> None:
        check_submission(submission, tenant)

    return check


def is_runnable(report: ValidationReport, keep_going: bool) -> bool:
    """Return whether a batch is made of a file: of one without rows never, of one with problems if that is asked."""
    return report.problem_count < report.rows and (keep_going or report.problem_count == 0)


def refuse(output: Output, order: BulkOrder, report: ValidationReport) -> NoReturn:
    """Say what is wrong with the file, by line, and end the command."""
    what = f"{report.problem_count:,} of {report.rows:,} rows of {order.source} are no jobs"
    if report.rows == 0:
        what = f"{order.source} has no rows"
    elif report.problem_count < report.rows:
        what += "; --keep-going runs the others"
    if not output.as_json:
        show_problems(output, report)
        raise FleetError(what)
    found = [problem_json(problem) for problem in report.problems]
    output.object({"error": what, "problem_count": report.problem_count, "problems": found})
    raise typer.Exit(FAILED)


def show_problems(output: Output, report: ValidationReport) -> None:
    for line in complaints(report.problems, report.problem_count):
        output.progress(line)
