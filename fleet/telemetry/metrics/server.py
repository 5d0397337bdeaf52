"""A small HTTP server on the process's own event loop: `/metrics` for Prometheus, `/healthz` for whoever restarts it.

It is on that loop because a process whose loop stands still is not healthy. A scrape reads the numbers there, in about
a millisecond; its text is made in a thread. Every connection answers one request and is closed.
"""

from __future__ import annotations

import asyncio
import errno
import gzip
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from prometheus_client.exposition import gzip_accepted

from fleet.logs import get_logger
from fleet.telemetry.metrics.families import Family, Read
from fleet.telemetry.metrics.prometheus import exposition

log = get_logger(__name__)

PORTS_TRIED = 32
"""Ports tried from the first on: so many processes of one machine may serve their metrics."""

REQUEST_SECONDS = 10.0
"""Time for a whole request: Prometheus waits no longer by default."""

MOST_CONNECTIONS = 32
MOST_REQUEST_BYTES = 16 * 1024

CLOSE_SECONDS = 2.0
"""Time that requests under way get when the process ends."""


@dataclass(frozen=True, slots=True)
class _Response:
    status: HTTPStatus
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self, with_body: bool) -> bytes:
        headers = {"Content-Length": str(len(self.body)), "Connection": "close", **self.headers}
        lines = (f"HTTP/1.1 {self.status.value} {self.status.phrase}", *(f"{k}: {v}" for k, v in headers.items()))
        return "\r\n".join((*lines, "", "")).encode() + (self.body if with_body else b"")


class MetricsServer:
    """Serves what `read` returns; `is_healthy` says whether the process does its work."""

    def __init__(self, read: Read, is_healthy: Callable[[], bool]) -> None:
        self._read = read
        self._is_healthy = is_healthy
        self._server: asyncio.Server | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen on the first of `PORTS_TRIED` ports that is free, or on any for 0; return which.

        Raises: OSError if there is none, or `host` is no address of this machine.
        """
        for tried in (0,) if port == 0 else range(port, min(port + PORTS_TRIED, 65536)):
            try:
                self._server = await asyncio.start_server(self._answer, host, tried, limit=MOST_REQUEST_BYTES)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return int(self._server.sockets[0].getsockname()[1])
        raise OSError(errno.EADDRINUSE, f"ports {port} to {port + PORTS_TRIED - 1} are taken")

    async def close(self) -> None:
        """Take no more connections, and end those that take longer than `CLOSE_SECONDS`."""
        if self._server is None:
            return
        self._server.close()
        if self._answering:
            _, late = await asyncio.wait(self._answering, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            if len(self._answering) <= MOST_CONNECTIONS:
                async with asyncio.timeout(REQUEST_SECONDS):
                    await self._respond(reader, writer)
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # whoever asked is gone, slow, or no client of ours
        except Exception:
            log.exception("scrape_failed")
        finally:
            self._answering.discard(task)
            writer.close()

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, path, headers = _parsed(head)
        response = await self._response(method, path, headers)
        writer.write(response.encoded(with_body=method != "HEAD"))
        await writer.drain()

    async def _response(self, method: str, path: str, headers: Mapping[str, str]) -> _Response:
        if method not in ("GET", "HEAD"):
            return _Response(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD"})
        match path.partition("?")[0]:
            case "/metrics":
                families = list(self._read())
                return await asyncio.to_thread(_rendered, families, headers)
            case "/healthz" if self._is_healthy():
                return _Response(HTTPStatus.OK, b"ok\n")
            case "/healthz":
                return _Response(HTTPStatus.SERVICE_UNAVAILABLE, b"starting or draining\n")
            case _:
                return _Response(HTTPStatus.NOT_FOUND, b"/metrics, /healthz\n")


def _parsed(head: str) -> tuple[str, str, Mapping[str, str]]:
    """Return the method, the path and the headers, by their names in small letters."""
    request, *lines = head.split("\r\n")
    method, _, rest = request.partition(" ")
    pairs = (line.partition(":") for line in lines)
    return method, rest.partition(" ")[0], {name.lower(): value.strip() for name, _, value in pairs}


def _rendered(families: Iterable[Family], headers: Mapping[str, str]) -> _Response:
    body, content_type = exposition(families, headers.get("accept", ""))
    about = {"Content-Type": content_type}
    if gzip_accepted(headers.get("accept-encoding", "")):
        body, about["Content-Encoding"] = gzip.compress(body, 1), "gzip"
    return _Response(HTTPStatus.OK, body, about)
