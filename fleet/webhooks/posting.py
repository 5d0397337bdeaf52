"""Sends one request to an address that somebody else has chosen, and lets it do no harm.

The name is resolved here, each address is judged, and the connection is made to an address that was judged: a name that
leads elsewhere a moment later changes nothing. Nobody's proxy, redirect, cookie or credentials are used.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi
import httpcore

from fleet.webhooks.addresses import Permitted
from policies.webhooks import WebhookReply

TIMEOUT_SECONDS = 20.0
"""Seconds for a whole attempt: name, connection, request and the head of the reply."""

DRAIN_SECONDS = 2.0
MOST_REPLY_BYTES = 64 * 1024
"""How long, and how much of a reply's body is read and thrown away, so that its sender need not meet a reset."""

MOST_LOOKUPS = 256
"""Names resolved at once. A name server that never answers keeps a thread for as long as the system is patient."""

FORBIDDEN = "forbidden_address"
UNRESOLVED = "name_not_resolved"
TIMEOUT = "timeout"
FAILED = "connection_failed"
"""The problems of an attempt that brought no status."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host. Raises: OSError if it has none."""

_FAILURES = (OSError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException)


class ForbiddenAddress(httpcore.ConnectError):
    """Raised if a name leads to addresses only that may not be connected to."""


class UnresolvedName(httpcore.ConnectError):
    """Raised if a name leads nowhere."""


class SystemResolver:
    """Resolves names as the machine does, on threads of its own: one that hangs keeps nobody else waiting."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(MOST_LOOKUPS, "webhook-names")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _addresses_of, host, port)
        return list(dict.fromkeys(found))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _addresses_of(host: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class _JudgedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that are permitted, whatever name leads to them."""

    def __init__(self, permitted: Permitted, resolve: Resolve, encrypted: bool) -> None:
        self._permitted = permitted
        self._resolve = resolve
        self._encrypted = encrypted
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        error: Exception = ForbiddenAddress(host)
        for address in await self.judged(host, port):
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.ConnectError as failed:
                error = failed
        raise error

    async def judged(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host that may be connected to.

        Raises: UnresolvedName if it has no address, ForbiddenAddress if none of them may be.
        """
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:  # UnicodeError: a label that is too long
            raise UnresolvedName(host) from error
        permitted = [each for each in found if self._permitted.allows(each, port, encrypted=self._encrypted)]
        if not permitted:
            raise ForbiddenAddress(host)
        return permitted


class Poster:
    """Posts to the addresses of webhooks. `ca_path` holds authorities to trust beside the public ones."""

    def __init__(
        self,
        permitted: Permitted,
        resolve: Resolve,
        ca_path: Path | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.permitted = permitted
        self._timeout_seconds = timeout_seconds
        self._context = ssl.create_default_context(cafile=certifi.where())
        if ca_path is not None:
            self._context.load_verify_locations(cafile=ca_path)
        self._backends = {
            scheme: _JudgedBackend(permitted, resolve, encrypted)
            for scheme, encrypted in (("https", True), ("http", False))
        }

    async def problem_of(self, url: str) -> str | None:
        """Return `FORBIDDEN` if the URL leads to addresses that are not permitted, `UNRESOLVED` if nowhere, or None."""
        parts = urlsplit(url)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._backends[parts.scheme].judged(parts.hostname or "", parts.port or _PORTS[parts.scheme])
        except TimeoutError:
            return UNRESOLVED
        except httpcore.ConnectError as error:
            return _problem(error)
        return None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> WebhookReply:
        """Make one attempt, and return what it brought. Never raises for anything that the other side does."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._exchange(url, headers, body)
        except TimeoutError:
            return WebhookReply(problem=TIMEOUT)
        except _FAILURES as error:
            return WebhookReply(problem=_problem(error))

    async def _exchange(self, url: str, headers: Mapping[str, str], body: bytes) -> WebhookReply:
        parts = urlsplit(url)
        own = {"host": parts.netloc, "user-agent": "fleet", "content-type": "application/json"}
        lines = list({**own, "content-length": str(len(body)), **headers}.items())
        # A connection for each attempt: what was judged an hour ago may belong to somebody else now.
        origin, backend = httpcore.URL(url).origin, self._backends[parts.scheme]
        async with (
            httpcore.AsyncHTTPConnection(origin, self._context, network_backend=backend) as connection,
            connection.stream("POST", url, headers=lines, content=body) as reply,
        ):
            with suppress(*_FAILURES):
                async with asyncio.timeout(DRAIN_SECONDS):
                    await _drain(reply)
            return WebhookReply(reply.status, _retry_after(reply.headers))


_PORTS: Mapping[str, int] = {"https": 443, "http": 80}


async def _drain(reply: httpcore.Response) -> None:
    size = 0
    async for chunk in reply.aiter_stream():
        size += len(chunk)
        if size > MOST_REPLY_BYTES:
            return


def _problem(error: Exception) -> str:
    match error:
        case ForbiddenAddress():
            return FORBIDDEN
        case UnresolvedName():
            return UNRESOLVED
        case httpcore.TimeoutException():
            return TIMEOUT
        case _:
            return FAILED


def _retry_after(headers: Sequence[tuple[bytes, bytes]]) -> float | None:
    """Return the seconds that a receiver asks to wait, in either form of the header."""
    said = next((value for name, value in headers if name.lower() == b"retry-after"), b"").decode("latin-1").strip()
    if said.isascii() and said.isdigit():
        return float(said[:9])
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    return None
