"""`fleet webhooks`: tells the endpoints of tenants what has happened."""

from __future__ import annotations

import asyncio

import typer

from fleet.cli.connection import settings_for
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly

webhooks_app = typer.Typer(help="Events, told to the endpoints of tenants.", no_args_is_help=True)


@webhooks_app.callback()
def webhooks() -> None: ...


@webhooks_app.command()
def run(nats_url: NatsUrl = None, as_json: AsJson = False) -> None:
    """Deliver events to webhooks until SIGTERM. One process for a fleet is enough; several share the work."""
    from fleet.app.webhooks import run_webhooks

    with friendly(as_json):
        asyncio.run(run_webhooks(settings_for(nats_url)))
        Output(as_json).object({"stopped": True})
