"""Runs the demo on a fleet that is running, or on one of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.cli.bulk.direct import bar
from fleet.cli.connection import open_desk, settings_for
from fleet.cli.demo.asked import LARGEST_MODEL, SMALL_MODEL, Asked, alone_on, jobs
from fleet.cli.demo.collect import GRACE_SECONDS, LINGER_SECONDS, CollectedResults, collect
from fleet.cli.demo.report import Alone, alone, report
from fleet.cli.demo.view import summary
from fleet.cli.ops.running import started_apart
from fleet.cli.output import Output, quiet
from fleet.model.errors import QueueRefused, QueueUnavailable
from fleet.settings.environment import LEDGER_FILE

if TYPE_CHECKING:
    from fleet.app import FleetStatus
    from fleet.ports import JobDesk
    from fleet.settings.environment import Settings


async def demo(settings: Settings, as_json: bool, count: int, seed: int, deadline_seconds: float) -> None:
    """Run `count` jobs, run them again on the small and on the largest model alone, and show the results.

    Raises: FleetError if a part does not start.
    """
    directory = Path(tempfile.mkdtemp(prefix="fleet-demo-"))
    with quiet(as_json, directory / "fleet.log") as output:
        async with _fleet(settings, directory, output.progress) as (there, notes, stays), open_desk(there) as desk:
            output.progress(f"{count} jobs")
            asked = jobs(count, seed, deadline_seconds)
            collected = await gather(desk, asked, deadline_seconds, output, LINGER_SECONDS)
            small = await _alone(desk, SMALL_MODEL, asked, deadline_seconds, output)
            largest = await _alone(desk, LARGEST_MODEL, asked, deadline_seconds, output)
            totals = report(asked, collected, small, largest)
        output.object(totals.as_json())
        output.show(*summary(totals, asked, collected.results, notes, stays))
    _remove_all_but_ledger(directory)  # kept, with its log, where something failed


def _remove_all_but_ledger(directory: Path) -> None:
    """Remove what the demo's fleet wrote; its accounts stay for `fleet trace` and the like."""
    for each in directory.iterdir():
        if each.is_dir():
            shutil.rmtree(each, ignore_errors=True)
        elif not each.name.startswith(LEDGER_FILE):
            each.unlink(missing_ok=True)
    with suppress(OSError):  # not empty: the accounts are there
        directory.rmdir()


@asynccontextmanager
async def _fleet(
    settings: Settings, directory: Path, on_progress: Callable[[str], None]
) -> AsyncIterator[tuple[Settings, Sequence[str], bool]]:
    """Provide settings that reach a fleet, notes on it, and whether it stays: a running one, else one for the demo."""
    there = settings_for(settings.nats_url)
    status = await _status_if_any(there)
    if status is not None and (settings.nats_url or _serves_the_models(status)):
        on_progress(f"a fleet is there: {status.nats_url}")
        yield there, (), True
        return
    async with started_apart(settings, directory, on_progress) as (own, notes):
        yield own, notes, False


async def _status_if_any(settings: Settings) -> FleetStatus | None:
    """Return the status of the fleet that runs there, or None where none answers. Raises: QueueRefused."""
    from fleet.app import read_status

    try:
        return await read_status(settings)
    except QueueRefused:
        raise
    except QueueUnavailable:
        return None


def _serves_the_models(status: FleetStatus) -> bool:
    """Return whether this machine's fleet, found without being named, runs the models that the demo compares."""
    running = {target.name for target in status.targets if target.state == "running"}
    return running >= {SMALL_MODEL, LARGEST_MODEL}


async def _alone(
    desk: JobDesk, model: str, asked: Sequence[Asked], deadline_seconds: float, output: Output
) -> Alone | None:
    output.progress(f"the same prompts on {model} alone")
    pinned = alone_on(model, asked, deadline_seconds)
    return alone(model, pinned, (await gather(desk, pinned, deadline_seconds, output)).results)


async def gather(
    desk: JobDesk, asked: Sequence[Asked], deadline_seconds: float, output: Output, linger_seconds: float = 0.0
) -> CollectedResults:
    """Submit the jobs, show a progress bar, and return the results."""
    with bar(output) as progress:
        task = progress.add_task("jobs", total=len(asked))
        timeout_seconds = deadline_seconds + GRACE_SECONDS
        return await collect(desk, asked, timeout_seconds, lambda: progress.advance(task), linger_seconds)
