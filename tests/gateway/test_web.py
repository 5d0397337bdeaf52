"""How answers leave the process, whoever serves them."""

from __future__ import annotations

import asyncio
import socket

from fleet.web import listening


async def test_an_answer_does_not_wait_until_the_client_has_acknowledged_its_head() -> None:
    """Head and body are two writes: without TCP_NODELAY the second is held back for some 40 ms."""
    nodelay: list[int] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = writer.get_extra_info("socket")
        nodelay.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with listening("127.0.0.1", 0, "port") as listener:
        async with await asyncio.start_server(accept, sock=listener):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            await reader.read()
            writer.close()
    assert nodelay == [1]
