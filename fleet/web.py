"""Serves an ASGI application in this process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from fleet.model.errors import ConfigError

GRACE_SECONDS = 3

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server's certificate chain and its private key, as PEM files."""

    chain_path: Path
    key_path: Path


class _Server(uvicorn.Server):
    """Leaves the signals to the process it runs in."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served_on(
    app: ASGIApp, host: str, port: int, setting: str = "port", certificate: Certificate | None = None
) -> AsyncIterator[int]:
    """Serve an application in this process until the block ends, and provide the port.

    Raises: ConfigError if it is taken, which names `setting`, or if the certificate cannot be used.
    """
    with listening(host, port, setting) as listener:
        server = _Server(_config(app, certificate))
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task


def _config(app: ASGIApp, certificate: Certificate | None) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=None if certificate is None else certificate.chain_path,
        ssl_keyfile=None if certificate is None else certificate.key_path,
    )
    try:
        config.load()
    except OSError as error:  # among them what OpenSSL says of a key that does not fit
        raise ConfigError("certificate", f"cannot be used: {error}") from None
    return config


@contextmanager
def listening(host: str, port: int, setting: str) -> Iterator[socket.socket]:
    """Provide a socket that listens. Raises: ConfigError if the address is taken, which names `setting`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By its protocol asyncio knows that connections are TCP, and switches Nagle's algorithm off for them.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            rule = f"cannot listen on {host} port {port} ({error.strerror}): choose another (0: any free one)"
            raise ConfigError(setting, rule) from None
        listener.listen()
        yield listener
