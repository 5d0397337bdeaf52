"""Runs the demo: on a fleet that is there, or on one of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.cli.connection import open_desk
from fleet.cli.demo.asked import SMALL_MODEL, Asked, alone_on, jobs
from fleet.cli.demo.collect import GRACE_SECONDS, LINGER_SECONDS, Collected, collect
from fleet.cli.demo.report import accuracy_of_the_small_model, report
from fleet.cli.demo.view import summary
from fleet.cli.files import bar
from fleet.cli.output import Output, quiet
from fleet.cli.running import started_apart

if TYPE_CHECKING:
    from fleet.ports import JobDesk
    from fleet.settings.environment import Settings


async def demo(settings: Settings, as_json: bool, count: int, seed: int, deadline_seconds: float) -> None:
    """Run `count` jobs and the same prompts on the small model alone; show what became of them. Raises: FleetError."""
    directory = Path(tempfile.mkdtemp(prefix="fleet-demo-"))
    with quiet(as_json, directory / "fleet.log") as output:
        async with _fleet(settings, directory, output.progress) as (there, notes), open_desk(there) as desk:
            output.progress(f"{count} jobs")
            asked = jobs(count, seed, deadline_seconds)
            collected = await gather(desk, asked, deadline_seconds, output, LINGER_SECONDS)
            output.progress("the same prompts on the small model alone")
            alone = alone_on(SMALL_MODEL, asked, deadline_seconds)
            small = (await gather(desk, alone, deadline_seconds, output)).results
            totals = report(asked, collected, accuracy_of_the_small_model(alone, small))
        output.object(totals.as_json())
        output.show(*summary(totals, asked, collected.results, notes))
    shutil.rmtree(directory, ignore_errors=True)  # kept, with its log, where something failed


@asynccontextmanager
async def _fleet(
    settings: Settings, directory: Path, on_progress: Callable[[str], None]
) -> AsyncIterator[tuple[Settings, Sequence[str]]]:
    """Settings that reach a fleet, and what is worth knowing of it: the one there, else one started for the demo."""
    from fleet.app import read_status

    if settings.nats_url and (await read_status(settings)).reachable:
        yield settings, ()
        return
    async with started_apart(settings, directory, on_progress) as (own, notes):
        yield own, notes


async def gather(
    desk: JobDesk, asked: Sequence[Asked], deadline_seconds: float, output: Output, linger_seconds: float = 0.0
) -> Collected:
    """What came back of these jobs, with a bar to watch."""
    with bar(output) as progress:
        task = progress.add_task("jobs", total=len(asked))
        timeout_seconds = deadline_seconds + GRACE_SECONDS
        return await collect(desk, asked, timeout_seconds, lambda: progress.advance(task), linger_seconds)
