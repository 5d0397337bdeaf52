"""Server-sent events, and the comments that keep a stream alive while a job waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fleet.gateway.errors import ApiError
from fleet.gateway.jobs.pending import Pending, client_gone
from fleet.model.job import Lane
from fleet.model.result import Result

PATIENCE_SECONDS = 0.3
"""Time for a refusal to come before a stream begins: its first byte fixes the status at 200."""

KEEP_ALIVE_SECONDS = 10.0
"""Time between two comments. Proxies end streams that are silent for a minute or more."""

_HEADERS = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}

Frames = AsyncGenerator[str, None]


def frame(data: Mapping[str, Any], event: str | None = None) -> str:
    named = "" if event is None else f"event: {event}\n"
    return f"{named}data: {to_json(data).decode()}\n\n"


def error_frame(error: ApiError) -> str:
    """Return the frame that OpenAI's SDKs raise as an error in the middle of a stream."""
    return frame(error.body())


class EventStream(Response):
    """Sends frames until they end, or until the client goes away, and closes the wait that they tell of.

    With `cancels` nobody else wants the answer: a job that has none then is cancelled.
    """

    media_type = "text/event-stream"

    def __init__(self, frames: Frames, pending: Pending, cancels: bool) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._frames = frames
        self._pending = pending
        self._cancels = cancels

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send(send))
        gone = asyncio.ensure_future(client_gone(receive))
        try:
            await asyncio.wait([sending, gone], return_when=asyncio.FIRST_COMPLETED)
            if self._cancels:
                await self._pending.cancel()  # nothing, where the result is there
            if sending.done():
                sending.result()
        finally:
            for task in (sending, gone):
                task.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)
            self._pending.close()

    async def _send(self, send: Send) -> None:
        async with aclosing(self._frames) as frames:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for each in frames:
                await send({"type": "http.response.body", "body": each.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b""})


async def kept_alive(
    pending: Pending, lane: Lane, still_admitted: Callable[[], Awaitable[None]]
) -> AsyncIterator[str | Result]:
    """Yield a comment at once and then now and then, and at last the result.

    Raises: ApiError once the caller's key is no longer in force.
    """
    waited = 0.0
    result = await pending.within(0.0)
    while result is None:
        yield f": waiting {waited:.0f} s{await _ahead(pending, lane)}\n\n"
        result = await pending.within(KEEP_ALIVE_SECONDS)
        waited += KEEP_ALIVE_SECONDS
        await still_admitted()
    yield result


async def _ahead(pending: Pending, lane: Lane) -> str:
    waiting = await pending.ahead(lane)
    return "" if waiting is None else f", {waiting} of your jobs wait in lane {lane}"
