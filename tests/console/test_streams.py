"""Pages that keep themselves up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace

import pytest
from console_fleet import ESCALATED, NOW, ConsoleFleet
from patience import PATIENCE_SECONDS

from fleet.console import app as console_app
from fleet.console.access import COOKIE, Access
from fleet.console.app import Console, application

TOKEN = "an-operator's-token"


class Listener:
    """A browser that listens to one stream."""

    def __init__(self) -> None:
        self.status = 0
        self.messages: asyncio.Queue[str] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.done: asyncio.Task[None]

    async def receive(self) -> dict[str, object]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, object]) -> None:
        if self.gone.is_set():
            raise OSError("the browser has gone")
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message.get("body"):
            self.messages.put_nowait(message["body"].decode())

    async def next(self) -> str:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.messages.get()


@asynccontextmanager
async def listening(app: object, path: str, cookie: str | None = None) -> AsyncIterator[Listener]:
    listener = Listener()
    cookies = [(b"cookie", f"{COOKIE}={cookie or Access(TOKEN).session(NOW)}".encode())]
    scope = {
        "type": "http", "asgi": {"spec_version": "2.3"}, "method": "GET", "path": path, "raw_path": path.encode(),
        "query_string": b"", "headers": cookies, "scheme": "http", "server": ("console", 80), "http_version": "1.1",
    }  # fmt: skip
    listener.done = asyncio.create_task(app(scope, listener.receive, listener.send))
    try:
        yield listener
    finally:
        listener.gone.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await listener.done


@pytest.fixture
async def fleet(night: ConsoleFleet) -> ConsoleFleet:
    return replace(night)


@pytest.fixture
async def app(fleet: ConsoleFleet, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[object]:
    """A console whose pages are made again without a pause."""

    async def at_once(console: Console, seconds: float) -> bool:
        await asyncio.sleep(0)  # a turn of the loop
        return console.stopping.is_set()

    monkeypatch.setattr(console_app, "_stopped", at_once)
    made = application(Access(TOKEN), nullcontext(fleet.sources()))
    async with made.router.lifespan_context(made):
        yield made


async def test_a_stream_sends_the_page_and_then_only_what_has_changed(app, fleet):
    async with listening(app, "/live/") as listener:
        first = await listener.next()
        assert "18,237" in first and first.startswith("data: ") and first.endswith("\n\n")
        streams = {**fleet.seen.status.streams, "JOBS": 99_999}
        fleet.seen = replace(fleet.seen, status=replace(fleet.seen.status, streams=streams))
        second = await listener.next()
    assert "99,999" in second
    assert listener.messages.empty()


async def test_a_page_that_does_not_change_is_not_sent_again(app, monkeypatch):
    monkeypatch.setattr(console_app, "IDLE_SECONDS", 20.0)
    async with listening(app, "/live/") as listener:
        await listener.next()
        assert await listener.next() == ": still here\n\n"


async def test_a_stream_of_a_job_that_has_ended_ends(app):
    async with listening(app, f"/live/jobs/acme/{ESCALATED}") as listener:
        assert "low confidence" in await listener.next()
        assert await listener.next() == "event: done\ndata: done\n\n"
        async with asyncio.timeout(PATIENCE_SECONDS):
            await listener.done


async def test_a_stream_ends_with_the_session(app, fleet):
    late = Access(TOKEN).session(NOW - 12 * 3600 + 1)
    console = app.state.console
    async with listening(app, "/live/", late) as listener:
        await listener.next()
        console.sources.wall = lambda: NOW + 5
        async with asyncio.timeout(PATIENCE_SECONDS):
            await listener.done
    assert console.streams == 0


async def test_a_console_that_stops_ends_its_streams(app):
    async with listening(app, "/live/") as listener:
        await listener.next()
        app.state.console.stopping.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await listener.done


async def test_no_more_streams_are_open_than_there_is_room_for(app, monkeypatch):
    monkeypatch.setattr(console_app, "MAX_STREAMS", 1)
    async with listening(app, "/live/") as first:
        await first.next()
        async with listening(app, "/live/jobs") as second:
            await second.done
            assert second.status == 503
    async with listening(app, "/live/") as third:
        assert "18,237" in await third.next()
