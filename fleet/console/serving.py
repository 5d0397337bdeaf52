"""Runs the console: as a server in this process, or as an application for Ray Serve."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from urllib.parse import quote

from pydantic import SecretStr
from starlette.applications import Starlette

from fleet.console.access import Access, new_token
from fleet.console.app import application
from fleet.console.sources import sources_of
from fleet.settings.environment import Settings, load
from fleet.web import LOOPBACK, served_on


@dataclass(frozen=True, slots=True)
class ServedConsole:
    """A console that answers at `url`; `entry` is the same, or the address that logs in with the token made for it."""

    url: str
    entry: str


def access_of(settings: Settings) -> Access:
    """Return who may come in. Raises: ConfigError if nobody may."""
    token = settings.console_token
    return Access(None if token is None else token.get_secret_value(), settings.console_proxy_header)


def _with_token(settings: Settings) -> tuple[Settings, str | None]:
    """Return settings with which somebody can come in, and the token made for that.

    None is made where others than this machine's users could reach the console: there its operator chooses one.
    """
    has_way = settings.console_token is not None or settings.console_proxy_header is not None
    if has_way or settings.console_host not in LOOPBACK:
        return settings, None
    made = new_token()
    return settings.model_copy(update={"console_token": SecretStr(made)}), made


def console_from_environment() -> Starlette:
    """Return the console of a Serve replica. Raises: ConfigError if a setting cannot be used."""
    settings = load()
    return application(access_of(settings), sources_of(settings))


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[ServedConsole]:
    """Serve the console in this process until the block ends.

    Raises: ConfigError if the address is taken, nobody could come in, or a setting cannot be used.
    """
    settings, made = _with_token(settings)
    access = access_of(settings)
    async with sources_of(settings) as sources:
        app = application(access, nullcontext(sources))
        async with served_on(app, settings.console_host, settings.console_port, "FLEET_CONSOLE_PORT") as port:
            try:
                yield _served(settings, port, made)
            finally:
                app.state.console.stopping.set()


def _served(settings: Settings, port: int, made: str | None) -> ServedConsole:
    host = f"[{settings.console_host}]" if ":" in settings.console_host else settings.console_host
    url = f"http://{host}:{port}"
    return ServedConsole(url, url if made is None else f"{url}/login#{quote(made, safe='')}")
