"""Three providers at one address on loopback, over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.prompt_cache.vendors import Vendor

PATHS = {
    "/v1/messages": "anthropic",
    "/openai/v1/chat/completions": "groq",
    "/v1/chat/completions": "openai",
}

BUSY = {"error": {"type": "overloaded_error", "message": "busy"}}


@asynccontextmanager
async def serving(vendors: Mapping[str, Vendor], is_busy: Callable[[], bool]) -> AsyncIterator[dict[str, str]]:
    """Serve the vendors; yield their base URLs. Where `is_busy` says so, a call is refused and not charged."""
    connections = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                await _exchange(reader, writer, vendors, is_busy)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield {"openai": f"{url}/v1", "groq": url, "anthropic": url}
    finally:
        server.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    vendors: Mapping[str, Vendor],
    is_busy: Callable[[], bool],
) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = json.loads(await reader.readexactly(int(headers["content-length"])))
    account = headers.get("x-api-key") or headers["authorization"]
    vendor = vendors[PATHS[head[0].split(" ")[1]]]
    reply: dict[str, Any] = BUSY if (busy := is_busy()) else vendor.answer(body, account)
    content = json.dumps(reply).encode()
    lines = [f"HTTP/1.1 {503 if busy else 200} -", "content-type: application/json", f"content-length: {len(content)}"]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
    await writer.drain()
