"""No login leaves in clear where TLS was asked for, whatever a server, or whoever stands before it, says of itself."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS, eventually

from queues.jetstream.client.connection import connect
from queues.jetstream.client.login import Login
from queues.server.config import Server
from queues.server.dev_ca import write_certificates

SECRET = "invented-password"


class Liar:
    """A server that says of itself what a test wants, and records every line it is sent."""

    def __init__(self, says: dict[str, object], certificate: Path | None) -> None:
        self.received: list[bytes] = []
        self.greeted = 0
        self.port = 0
        self.says = says
        self._certificate = certificate
        self._writers: list[asyncio.StreamWriter] = []

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.greeted += 1
        self._writers.append(writer)
        info = {"server_id": "x", "version": "2.12.0", "max_payload": 1 << 20, "auth_required": True, **self.says}
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        if self._certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self._certificate, self._certificate.with_name("nats-1-key.pem"))
            await writer.start_tls(context)
        while line := await reader.readline():
            self.received.append(line)
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def serving(says: dict[str, object], certificate: Path | None = None) -> AsyncIterator[Liar]:
    server = Liar(says, certificate)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await server.take(reader, writer)
        except OSError:  # the client hung up: what it had sent by then is what counts
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(take, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        server.hang_up()
        listener.close()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    write_certificates(folder, [Server("nats-1", "127.0.0.1", 4222)])
    return folder


def login(ca_path: Path | None = None) -> Login:
    return Login("acme", SECRET, ca_path=ca_path)


async def try_twice(url: str, who: Login, greeted: Callable[[], int]) -> None:
    """Connect until the second greeting has come: the first was not answered with a login, or it would have been one.

    nats-py tries again for as long as it may, so how long that is decides nothing here.
    """
    connecting = asyncio.create_task(connect(url, login=who, timeout_seconds=PATIENCE_SECONDS))
    await eventually(lambda: greeted() >= 2 or connecting.done())
    if connecting.done():
        await (await connecting).close()
        pytest.fail("it has logged in")
    connecting.cancel()
    await asyncio.wait([connecting])


def assert_told_nothing(servers: Sequence[Liar]) -> None:
    """Each was reached, and none has read a greeting, which is where a login stands."""
    assert all(server.greeted for server in servers)
    assert [
        line for server in servers for line in server.received if b"CONNECT" in line or SECRET.encode() in line
    ] == []


@pytest.mark.proves("A server that hides its TLS reads no login", how="real")
@pytest.mark.parametrize("says", [{}, {"tls_required": False, "tls_available": True}])
@pytest.mark.parametrize("scheme", ["tls", "nats"])
async def test_a_server_that_hides_its_tls_reads_no_login(says, scheme, tls: Path) -> None:
    async with serving(says) as server:
        await try_twice(f"{scheme}://127.0.0.1:{server.port}", login(tls / "ca.pem"), lambda: server.greeted)
    assert_told_nothing([server])


async def test_the_scheme_alone_asks_for_tls() -> None:
    async with serving({}) as server:
        await try_twice(f"tls://acme:{SECRET}@127.0.0.1:{server.port}", Login(), lambda: server.greeted)
    assert_told_nothing([server])


async def test_one_encrypted_address_asks_for_tls_with_every_server() -> None:
    async with serving({}) as first, serving({}) as second:
        urls = f"nats://127.0.0.1:{first.port},tls://127.0.0.1:{second.port}"
        await try_twice(urls, login(), lambda: min(2 * first.greeted, 2 * second.greeted))
    assert_told_nothing([first, second])


async def test_a_web_socket_in_clear_is_no_way_around_tls(tls: Path) -> None:
    aiohttp_web = pytest.importorskip("aiohttp.web")
    greeted: list[object] = []
    received: list[bytes] = []

    async def take(request):
        greeted.append(request)
        socket = aiohttp_web.WebSocketResponse()
        await socket.prepare(request)
        info = {"server_id": "x", "max_payload": 1 << 20, "auth_required": True, "tls_required": True}
        await socket.send_bytes(b"INFO " + json.dumps(info).encode() + b"\r\n")
        async for message in socket:
            received.append(message.data)
        return socket

    app = aiohttp_web.Application()
    app.router.add_get("/", take)
    runner = aiohttp_web.AppRunner(app)
    await runner.setup()
    site = aiohttp_web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    await try_twice(f"ws://127.0.0.1:{port}", login(tls / "ca.pem"), lambda: len(greeted))
    await runner.cleanup()
    assert received == []


@pytest.mark.proves("Neither a reconnect nor a server named in a greeting reads a login in clear", how="real")
async def test_neither_a_reconnect_nor_a_server_named_in_a_greeting_reads_a_login_in_clear(tls: Path) -> None:
    async with serving({}) as discovered:
        says: dict[str, object] = {"tls_required": True, "connect_urls": [f"127.0.0.1:{discovered.port}"]}
        async with serving(says, tls / "nats-1.pem") as honest:
            connection = await connect(f"nats://127.0.0.1:{honest.port}", login=login(tls / "ca.pem"))
            assert any(SECRET.encode() in line for line in honest.received), "over TLS it is told"
            honest.says, honest._certificate = {}, None
            honest.received.clear()
            greeted = honest.greeted
            honest.hang_up()
            await eventually(lambda: discovered.greeted > 0 and honest.greeted > greeted)
            assert_told_nothing([discovered, honest])
            await connection.close()
