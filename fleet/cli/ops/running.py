"""`fleet up`: runs everything on this machine until Ctrl-C, SIGTERM, or the end of its terminal."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleet.cli.extras import needs_console, needs_gateway
from fleet.cli.ops.fleet_status import targets_table
from fleet.cli.output import INTERRUPTED, Output, quiet
from fleet.model.errors import FleetError
from fleet.signals import cancelled_when_told_to_end
from queues.jetstream.client.addresses import without_password

if TYPE_CHECKING:
    from fleet.app import Fleet
    from fleet.settings.environment import Settings


STOPPING: Final = "stopping: calls that run are finished (Ctrl-C again ends at once; no job is lost)"


async def up(settings: Settings, as_json: bool) -> None:
    """Start everything, print its addresses, and stop everything at the end.

    Raises: FleetError if a part does not start.
    """
    log = (settings.data_dir / "fleet.log").absolute()
    with quiet(as_json, log) as output:
        output.progress(f"log: {log}")
        with suppress(asyncio.CancelledError):
            await _run(settings, output, log)
        output.progress("stopped")


async def _run(settings: Settings, output: Output, log: Path) -> None:
    """Run everything until this task is cancelled."""
    async with started(settings, output.progress) as fleet, _web(settings, fleet) as web:
        notes = (*fleet.notes, *web.notes)
        urls = {"console_url": web.console, "gateway_url": web.gateway}
        output.object({**_whereabouts(fleet, settings), **urls, "notes": list(notes)})
        for line in (*_addresses(fleet, settings, web), f"log        {log}"):
            output.say(line)
        output.show("", targets_table(await fleet.status()), "")
        for note in notes:
            output.say(f"note: {note}")
        output.say("Ctrl-C stops everything.")
        await asyncio.Event().wait()


@asynccontextmanager
async def started(settings: Settings, on_progress: Callable[[str], None]) -> AsyncIterator[Fleet]:
    """Provide a running fleet, stopped on the way out. A signal to end cancels the task inside; the second ends us.

    Raises: FleetError if the fleet cannot go on; whatever `start` raises.
    """
    from fleet import logs
    from fleet.app import start

    logs.configure(settings.log_level.upper(), json=True)
    stopping = cache(lambda: on_progress(STOPPING))  # said once: when we are told to end, or when the block ends
    cancelled_when_told_to_end(stopping, again=lambda: os._exit(INTERRUPTED))  # the guardian ends what is left
    fleet = await start(settings, on_progress)
    try:
        async with _while_whole(fleet):
            yield fleet
    finally:
        stopping()
        await fleet.stop()


@asynccontextmanager
async def _while_whole(fleet: Fleet) -> AsyncIterator[None]:
    """Run the block as long as the fleet can answer jobs. Raises: FleetError once it cannot."""
    task = asyncio.current_task()
    assert task is not None, "called from a coroutine"
    broken = asyncio.create_task(fleet.broken())
    broken.add_done_callback(lambda ended: None if ended.cancelled() else task.cancel())
    try:
        yield
    except asyncio.CancelledError:
        if broken.done():
            raise broken.result() from None
        raise
    finally:
        broken.cancel()


@asynccontextmanager
async def started_apart(
    settings: Settings, directory: Path, on_progress: Callable[[str], None]
) -> AsyncIterator[tuple[Settings, Sequence[str]]]:
    """Provide settings and notes of a fleet of one's own beside any other; all it writes is in `directory`."""
    # Another fleet may hold the usual ports.
    free = dict.fromkeys(("nats_port", "http_port", "dashboard_port", "console_port", "gateway_port"), 0)
    own = settings.model_copy(update={"nats_url": None, "data_dir": directory, "ledger_url": None, **free})
    async with started(own, on_progress) as fleet:
        ledger = ledger_address(fleet, own)
        notes = fleet.notes if ledger is None else (*fleet.notes, f"the accounts of these jobs are in {ledger}")
        yield own.model_copy(update={"nats_url": fleet.nats_url}), notes


@dataclass(frozen=True, slots=True)
class _Web:
    """The addresses of what is served beside a fleet, and why one of them is missing."""

    console: str | None
    gateway: str | None
    notes: tuple[str, ...]


@asynccontextmanager
async def _web(settings: Settings, fleet: Fleet) -> AsyncIterator[_Web]:
    """Serve the console and the gateway beside the fleet; a fleet without one of them is told why, and runs."""
    there = settings.model_copy(
        update={
            "nats_url": fleet.nats_url,
            "ray_dashboard_url": fleet.dashboard_url,
            "metrics_discovery": fleet.metrics_folder,
        }
    )
    async with AsyncExitStack() as stack:
        console, gateway, notes = None, None, []
        try:
            with needs_console("the console"):
                from fleet.console.serving import serving

                console = (await stack.enter_async_context(serving(there))).entry
        except FleetError as error:
            notes.append(f"no console: {error}")
        try:
            with needs_gateway("the gateway"):
                from fleet.gateway.serving import serving as serving_gateway

                keys = settings.gateway_keys if "gateway_keys" in settings.model_fields_set else "none"
                open_here = there.model_copy(update={"gateway_keys": keys})
                gateway = f"{await stack.enter_async_context(serving_gateway(open_here))}/v1"
        except FleetError as error:
            notes.append(f"no gateway: {error}")
        yield _Web(console, gateway, tuple(notes))


def ledger_address(fleet: Fleet, settings: Settings) -> str | None:
    """Return the address of the database of accounts, without its password; None where nobody writes it."""
    if not fleet.has_ledger:
        return None
    from fleet.ledger.database import database_url, shown

    return shown(database_url(settings.ledger_address))


def _addresses(fleet: Fleet, settings: Settings, web: _Web) -> list[str]:
    rows = (
        ("NATS", without_password(fleet.nats_url)),
        ("gateway", web.gateway),
        ("models", f"{fleet.openai_url}/<target>/v1"),
        ("dashboard", fleet.dashboard_url),
        ("console", web.console),
        ("ledger", ledger_address(fleet, settings)),
        ("metrics", f"{fleet.metrics_folder}/*.json for Prometheus"),
    )
    return [f"{name:<10} {url}" for name, url in rows if url]


def _whereabouts(fleet: Fleet, settings: Settings) -> dict[str, Any]:
    return {
        "nats_url": without_password(fleet.nats_url),
        "dashboard_url": fleet.dashboard_url,
        "openai_url": fleet.openai_url,
        "ledger_url": ledger_address(fleet, settings),
        "metrics_discovery": str(fleet.metrics_folder),
        "targets": list(fleet.targets),
    }
