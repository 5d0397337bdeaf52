"""A receiver of webhooks on loopback, which answers as a test says and remembers what came."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came; the names of headers are in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes


Answering = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def says(reply: bytes) -> Answering:
    """Answer with these bytes, and close the connection."""

    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)

    return answer


def status(number: int, *headers: str) -> Answering:
    lines = "".join(f"{each}\r\n" for each in headers)
    return says(f"HTTP/1.1 {number} So\r\nContent-Length: 0\r\n{lines}\r\n".encode())


@dataclass
class Receiver:
    """The receiver at `url`. `answering` may be changed at any time."""

    url: str
    answering: Answering = field(default_factory=lambda: says(OK))
    received: list[Received] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read(reader)
            self.received.append(request)
            await self.answering(request, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(line, headers, body)


@asynccontextmanager
async def receiving(context: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Provide a receiver, with TLS if there is a context."""
    receiver = Receiver("")
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    receiver.url = f"http{'s' if context else ''}://127.0.0.1:{port}/hook"
    try:
        yield receiver
    finally:
        server.close()
