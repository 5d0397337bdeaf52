"""The server of `/metrics` and `/healthz`, as a scraper and others who connect see it."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator

import pytest
from patience import PATIENCE_SECONDS

from fleet.loopback import free_port
from fleet.telemetry.metrics import catalogue, server
from fleet.telemetry.metrics.families import Family, Point
from fleet.telemetry.metrics.server import MetricsServer

HOST = "127.0.0.1"


class Served:
    """A server of one number, and its port."""

    def __init__(self) -> None:
        self.value = 7.0
        self.healthy = True
        self.server = MetricsServer(self.read, lambda: self.healthy)
        self.port = 0

    def read(self) -> Iterator[Family]:
        yield Family(catalogue.BROKER_SILENT, [Point((), self.value)])

    async def ask(self, request: str) -> tuple[int, dict[str, str], bytes]:
        """The status, the headers and the body of a reply, after which the server closes."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        writer.write(request.encode())
        async with asyncio.timeout(PATIENCE_SECONDS):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        first, *lines = head.decode().split("\r\n")
        return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body

    async def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        return await self.ask(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n")


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    served.port = await served.server.start(HOST, 0)
    yield served
    await served.server.close()


async def test_a_scrape_gets_the_numbers_of_the_moment(served):
    status, headers, body = await served.get("/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"\nfleet_broker_silent_seconds 7.0\n" in body
    assert int(headers["Content-Length"]) == len(body)
    served.value = 8.0
    assert b"\nfleet_broker_silent_seconds 8.0\n" in (await served.get("/metrics?name=any"))[2]


async def test_a_scraper_gets_the_format_and_the_encoding_that_it_asks_for(served):
    _, headers, body = await served.get("/metrics", Accept="application/openmetrics-text", ACCEPT_ENCODING="gzip, br")
    assert headers["Content-Encoding"] == "gzip"
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert gzip.decompress(body).endswith(b"# EOF\n")


async def test_health_is_what_the_process_says(served):
    assert (await served.get("/healthz"))[::2] == (200, b"ok\n")
    served.healthy = False
    assert (await served.get("/healthz"))[::2] == (503, b"starting or draining\n")


async def test_a_head_request_gets_no_body(served):
    status, headers, body = await served.ask("HEAD /metrics HTTP/1.1\r\n\r\n")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET / HTTP/1.1", 404),
        ("GET /metrics/../healthz HTTP/1.1", 404),
        ("POST /metrics HTTP/1.1", 405),
        ("nonsense", 405),
        ("", 405),
    ],
)
async def test_what_is_not_there_is_refused_in_words(served, request_line, status):
    assert (await served.ask(f"{request_line}\r\n\r\n"))[0] == status


@pytest.mark.parametrize("request_", ["GET /metrics HTTP/1.1\r\nX: " + "x" * 100_000, "GET /metr"])
async def test_who_sends_too_much_or_stops_halfway_gets_nothing_and_others_are_served(served, request_):
    _, writer = await asyncio.open_connection(HOST, served.port)
    writer.write(request_.encode())
    writer.write_eof()
    assert (await served.get("/healthz"))[0] == 200
    writer.close()


async def test_who_says_nothing_is_let_go_in_the_end(served, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection(HOST, served.port)
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await reader.read() == b""
    writer.close()


async def test_beyond_so_many_connections_the_next_is_closed_at_once(served, monkeypatch):
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 1)
    _, idle = await asyncio.open_connection(HOST, served.port)
    reader, writer = await asyncio.open_connection(HOST, served.port)
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await reader.read() == b""
    idle.close()
    writer.close()


async def test_a_bug_in_reading_ends_that_scrape_alone(served, monkeypatch):
    monkeypatch.setattr(served.server, "_read", lambda: 1 / 0)
    reader, writer = await asyncio.open_connection(HOST, served.port)
    writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await reader.read() == b""
    writer.close()
    assert (await served.get("/healthz"))[0] == 200


async def test_a_scrape_under_way_is_answered_when_the_process_ends_and_the_next_is_refused(served):
    reader, writer = await asyncio.open_connection(HOST, served.port)
    writer.write(b"GET /metrics HTTP/1.1\r\n")
    await served.get("/healthz")  # by now the server has the other connection too
    closing = asyncio.create_task(served.server.close())
    await asyncio.sleep(0)
    writer.write(b"\r\n")
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
        await closing
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HOST, served.port)


async def test_a_connection_that_says_nothing_holds_up_no_end(served, monkeypatch):
    monkeypatch.setattr(server, "CLOSE_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection(HOST, served.port)
    await served.get("/healthz")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await served.server.close()
        assert await reader.read() == b""
    writer.close()


async def test_the_next_process_of_a_machine_takes_the_next_port():
    port = free_port()
    first, second = Served(), Served()
    first.port, second.port = await first.server.start(HOST, port), await second.server.start(HOST, port)
    assert (first.port, second.port > port) == (port, True)
    assert (await second.get("/healthz"))[0] == 200
    await first.server.close()
    await second.server.close()


async def test_a_machine_without_a_free_port_is_told(monkeypatch):
    monkeypatch.setattr(server, "PORTS_TRIED", 1)
    port = free_port()
    first = Served()
    await first.server.start(HOST, port)
    with pytest.raises(OSError, match="taken"):
        await Served().server.start(HOST, port)
    await first.server.close()


async def test_an_address_of_another_machine_is_an_error():
    with pytest.raises(OSError):
        await Served().server.start("203.0.113.1", 0)
