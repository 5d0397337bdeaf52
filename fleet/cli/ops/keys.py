"""`fleet keys`: makes, lists and revokes the API keys that open the gateway for a tenant."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fleet.cli.connection import opened, settings_for
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly
from fleet.model.api_key import MAX_NAME_CHARACTERS, ApiKey, Scope, issue, key_id_in
from fleet.model.errors import ConfigError, FleetError

if TYPE_CHECKING:
    from fleet.ports import KeyStore

SECONDS_PER_DAY = 86_400.0

keys_app = typer.Typer(help="API keys, which open the gateway for a tenant.", no_args_is_help=True)


@keys_app.command()
def create(
    tenant: Annotated[str, typer.Option(help="Whose jobs the key submits and reads.")],
    name: Annotated[str, typer.Option(help="What to know it by, such as the service that gets it.")] = "",
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it opens; repeatable. Without it, everything.")
    ] = None,
    expires_days: Annotated[float | None, typer.Option(min=0.0001, help="It opens nothing after so many days.")] = None,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key and print it. This is the only time: the fleet keeps its hash."""
    with friendly(as_json):
        wish = (tenant, name, frozenset(scope or Scope), expires_days)
        asyncio.run(_with_keys(nats_url, lambda keys: create_key(keys, Output(as_json), *wish)))


@keys_app.command("list")
def list_(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the API keys, oldest first, with what they open and until when. No key can be shown."""
    with friendly(as_json):
        asyncio.run(_with_keys(nats_url, lambda keys: show_keys(keys, Output(as_json), tenant)))


@keys_app.command()
def revoke(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="As `fleet keys list` shows them, or whole keys.")],
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """End API keys for good. A running gateway refuses them within two seconds."""
    with friendly(as_json):
        asyncio.run(_with_keys(nats_url, lambda keys: revoke_keys(keys, Output(as_json), ids)))


async def _with_keys(nats_url: str | None, do: Callable[[KeyStore], Awaitable[None]]) -> None:
    from fleet.app import open_keys

    async with opened(settings_for(nats_url), open_keys) as keys:
        await do(keys)


async def create_key(
    keys: KeyStore, output: Output, tenant: str, name: str, scopes: frozenset[Scope], expires_days: float | None
) -> None:
    """Store a new key and print its text.

    Raises: ConfigError if the tenant or the name cannot be one.
    """
    from queues.server.permissions import checked_tenants

    checked_tenants([tenant])
    if len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise ConfigError("name", f"must have at most {MAX_NAME_CHARACTERS} characters, all of them printable")
    now = time.time()
    expires_at = None if expires_days is None else now + expires_days * SECONDS_PER_DAY
    key, text = issue(secrets.token_hex(8), secrets.token_urlsafe(32), tenant, name, scopes, now, expires_at)
    await keys.add(key)
    output.object({"key": text, **facts_of(key, now)})
    # Only the key goes to stdout, so that a script can take it from there.
    output.say(text)
    output.progress(f"key {key.id} of {tenant} opens {', '.join(sorted(scopes))}; it is shown this once")


async def show_keys(keys: KeyStore, output: Output, tenant: str | None) -> None:
    """Show the keys of the tenant, or all."""
    now = time.time()
    found = sorted((await keys.read_all()).values(), key=lambda key: (key.created_at, key.id))
    chosen = [key for key in found if tenant in (None, key.tenant)]
    output.object({"keys": [facts_of(key, now) for key in chosen]})
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for column in ("id", "tenant", "name", "opens", "made", "until", "state"):
        table.add_column(column, no_wrap=column not in ("name", "opens"), overflow="fold", min_width=len(column))
    for key in chosen:
        opens = "all" if key.scopes == frozenset(Scope) else " ".join(sorted(key.scopes))
        until = "-" if key.expires_at is None else _date(key.expires_at)
        table.add_row(key.id, key.tenant, key.name, opens, _date(key.created_at), until, _state(key, now))
    output.show(table if chosen else "no API keys")


async def revoke_keys(keys: KeyStore, output: Output, said: Sequence[str]) -> None:
    """Revoke the keys in order, and stop at the first that does not exist.

    Raises: FleetError if there is no such key.
    """
    now = time.time()
    for number, text in enumerate(said, 1):
        key_id = key_id_in(text) or text
        # What was typed may be a key with a slip in it, so that it is not repeated.
        if _is_no_id(key_id) or await keys.revoke(key_id, now) is None:
            raise FleetError(f"there is no API key of the id given as number {number}")
        output.say(f"{key_id}: revoked")
    output.object({"revoked": [key_id_in(text) or text for text in said]})


def _is_no_id(text: str) -> bool:
    """Return whether this cannot be a key's id, which becomes part of a subject."""
    return len(text) != 16 or not set(text) <= set("0123456789abcdef")


def facts_of(key: ApiKey, now: float) -> dict[str, Any]:
    """Return all that may be shown of a key: not even its hash."""
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "state": _state(key, now),
    }


def _state(key: ApiKey, now: float) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "valid" if key.is_valid(now) else "expired"


def _date(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%d %H:%M")
