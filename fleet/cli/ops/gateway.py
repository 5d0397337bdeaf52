"""`fleet gateway`: OpenAI's API in front of the queue."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fleet.cli.connection import settings_for
from fleet.cli.extras import needs_gateway
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly
from fleet.signals import until_told_to_end

if TYPE_CHECKING:
    from fleet.settings.environment import Settings

gateway_app = typer.Typer(help="OpenAI's API in front of the queue.", no_args_is_help=True)


@gateway_app.command("run")
def gateway_run(
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port; 0 is any free one.")] = None,
    keys: Annotated[
        Literal["required", "none"] | None,
        typer.Option(
            help="none: whoever reaches it is FLEET_TENANT, on this machine alone. Otherwise callers need a key."
        ),
    ] = None,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Answer HTTP as OpenAI's API does: chat, responses, models. Until Ctrl-C or SIGTERM."""
    with friendly(as_json), needs_gateway("fleet gateway"):
        chosen = {"gateway_host": host, "gateway_port": port, "gateway_keys": keys}
        settings = settings_for(nats_url)
        settings = settings.model_copy(update={name: value for name, value in chosen.items() if value is not None})
        asyncio.run(_serve(settings, Output(as_json)))


async def _serve(settings: Settings, output: Output) -> None:
    """Serve until SIGINT or SIGTERM. Raises: QueueUnavailable; ConfigError if a setting cannot be used."""
    from fleet import logs
    from fleet.gateway.serving import serving

    logs.configure(settings.log_level.upper())
    with until_told_to_end():
        async with serving(settings) as url:
            output.object({"gateway_url": f"{url}/v1"})
            output.say(f"gateway    {url}/v1")
            output.say("Ctrl-C stops it.")
            await asyncio.Event().wait()
