"""`fleet bulk run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fleet.cli.connection import open_desk
from fleet.cli.output import Output
from fleet.model.errors import FleetError, QueueUnavailable

if TYPE_CHECKING:
    from fleet.bulk import runner
    from fleet.settings.environment import Settings


async def run(settings: Settings, output: Output, source: Path, sink: Path, name: str | None, window: int) -> None:
    """Answer a file of jobs.

    Raises: FleetError that says how to continue, if the queue is lost.
    """
    from fleet.bulk.runner import run

    with bar(output) as progress:
        task = progress.add_task("jobs", total=None)

        def on_progress(state: runner.BulkProgress) -> None:
            progress.update(task, completed=state.done, total=state.total)

        async with open_desk(settings) as desk:
            try:
                done = await run(
                    desk, source, sink, tenant=settings.tenant, name=name, window=window, on_progress=on_progress
                )
            except QueueUnavailable as error:
                raise FleetError(f"the queue went away ({error}): run the same command again to go on") from error
    output.object({"lines": done.total, "outcomes": dict(done.outcomes), "output": str(sink)})
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(done.outcomes.items()))
    output.say(f"{done.total:,} lines: {counts or 'none'} → {sink}")


def bar(output: Output) -> Progress:
    """Return a progress bar on stderr that leaves nothing behind; it is hidden in JSON mode or without a terminal."""
    console = output.progress_console
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=output.as_json or not console.is_terminal,
    )
