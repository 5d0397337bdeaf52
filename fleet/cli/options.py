"""The options that many commands have, and what their values mean."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
NatsUrl = Annotated[str | None, typer.Option("--nats-url", envvar="FLEET_NATS_URL", help="Where NATS listens.")]
Tenant = Annotated[str | None, typer.Option("--tenant", envvar="FLEET_TENANT", help="Whose jobs these are.")]


def cloud_of(text: str) -> str | list[str]:
    """Return allow, deny, or the providers named with commas between."""
    return text if text in ("allow", "deny") else names_of(text)


def names_of(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
