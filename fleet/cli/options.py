"""The options that many commands have."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
NatsUrl = Annotated[str | None, typer.Option("--nats-url", envvar="FLEET_NATS_URL", help="Where NATS listens.")]
Tenant = Annotated[str | None, typer.Option("--tenant", envvar="FLEET_TENANT", help="Whose jobs these are.")]
