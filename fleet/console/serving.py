"""Runs the console: as a server in this process, or as an application for Ray Serve."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from urllib.parse import quote

import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.types import ASGIApp

from fleet.console.access import Access, new_token
from fleet.console.app import application
from fleet.console.sources import sources_of
from fleet.model.errors import ConfigError
from fleet.settings.environment import Settings, load

GRACE_SECONDS = 3

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class ServedConsole:
    """A console that answers at `url`; `entry` is the same, or the address that logs in with the token made for it."""

    url: str
    entry: str


class _Server(uvicorn.Server):
    """Leaves the signals to the process it runs in."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


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
        async with served_on(app, settings.console_host, settings.console_port) as port:
            try:
                yield _served(settings, port, made)
            finally:
                app.state.console.stopping.set()


@asynccontextmanager
async def served_on(app: ASGIApp, host: str, port: int) -> AsyncIterator[int]:
    """Serve an application in this process until the block ends, and provide the port.

    Raises: ConfigError if it is taken.
    """
    with _listening(host, port) as listener:
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=GRACE_SECONDS
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            rule = f"cannot listen on {host} port {port} ({error.strerror}): choose another (0: any free one)"
            raise ConfigError("FLEET_CONSOLE_PORT", rule) from None
        listener.listen()
        yield listener


def _served(settings: Settings, port: int, made: str | None) -> ServedConsole:
    host = f"[{settings.console_host}]" if ":" in settings.console_host else settings.console_host
    url = f"http://{host}:{port}"
    return ServedConsole(url, url if made is None else f"{url}/login#{quote(made, safe='')}")
