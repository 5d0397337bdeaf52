"""A publisher without a NATS library: it may send any bytes the server takes."""

from __future__ import annotations

import asyncio

from patience import PATIENCE_SECONDS

GREETING = b'CONNECT {"verbose":false,"headers":true,"pedantic":false}\r\n'


async def publish(url: str, *commands: bytes) -> bytes:
    """Send the commands and return everything the server says before the answer to a PING."""
    host, port = url.removeprefix("nats://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await reader.readline()
        writer.write(GREETING + b"".join(commands) + b"PING\r\n")
        said = await reader.readuntil(b"PONG\r\n")
    writer.close()
    await writer.wait_closed()
    return said


def pub(subject: bytes, body: bytes, headers: bytes = b"", reply: bytes = b"") -> bytes:
    """Return a publish command; `headers` is the whole block, status line and final blank line included."""
    operation = b"HPUB" if headers else b"PUB"
    sizes = b"%d %d" % (len(headers), len(headers) + len(body)) if headers else b"%d" % len(body)
    words = [operation, subject, *([reply] if reply else []), sizes]
    return b" ".join(words) + b"\r\n" + headers + body + b"\r\n"
