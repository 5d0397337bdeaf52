"""`fleet console`: read-only pages on the fleet for a browser, served until Ctrl-C."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.connection import settings_for
from fleet.cli.extras import needs_console
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly
from fleet.signals import until_told_to_end

if TYPE_CHECKING:
    from fleet.settings.environment import Settings


def console(
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port; 0 is any free one.")] = None,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Serve read-only pages on the fleet: its state, jobs, money, dead letters, promises and alerts."""
    with friendly(as_json), needs_console("fleet console"):
        chosen = {"console_host": host, "console_port": port}
        settings = settings_for(nats_url)
        settings = settings.model_copy(update={name: value for name, value in chosen.items() if value is not None})
        asyncio.run(_serve(settings, Output(as_json)))


async def _serve(settings: Settings, output: Output) -> None:
    """Serve until SIGINT or SIGTERM. Raises: ConfigError if nobody could come in, or the address is taken."""
    from fleet import logs
    from fleet.console.serving import serving

    logs.configure(settings.log_level.upper())
    with until_told_to_end():
        async with serving(settings) as served:
            output.object({"console_url": served.url})
            output.say(f"console    {served.entry}")
            output.say("Ctrl-C stops it.")
            await asyncio.Event().wait()
