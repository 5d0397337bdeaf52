"""The gateway as an ASGI application: its doors, and what every answer of theirs has."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache

from fastapi import APIRouter, Depends, FastAPI
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from fleet.gateway import health, metrics, models, webhooks
from fleet.gateway.access.scopes import opened_by
from fleet.gateway.bulk import batches, files
from fleet.gateway.errors import ApiError, api_error_of, install
from fleet.gateway.jobs import chat
from fleet.gateway.metrics import RequestCounts
from fleet.gateway.openapi import describe, error_responses
from fleet.gateway.responses import door as responses
from fleet.gateway.state import Doors
from fleet.model.api_key import Scope

REQUEST_ID = "x-request-id"

MOST_UNDER_WAY = 5_000
"""Maximum requests under way at once: each holds a connection and its body, 1 MiB at most."""

SOON = {"retry-after": "1"}

OPEN: tuple[APIRouter, ...] = (health.router, metrics.router)
"""Doors without a key."""

DOORS: tuple[tuple[APIRouter, Scope | None], ...] = (
    (models.router, None),
    (chat.router, Scope.JOBS),
    (responses.router, Scope.JOBS),
    (files.router, Scope.FILES),
    (batches.router, Scope.BATCHES),
    (webhooks.router, Scope.WEBHOOKS),
)
"""Doors for callers with a key, and what the key must be for; None: any key will do."""

STATUSES = (400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504)
"""What a door may answer where it is no success."""


def application(opening: AbstractAsyncContextManager[Doors], counts: RequestCounts | None = None) -> FastAPI:
    """Return the gateway; `opening` provides what its doors share for as long as it runs, also as `state.doors`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with opening as app.state.doors:
            yield

    app = FastAPI(
        title="Inference fleet",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.counts = counts or RequestCounts()
    app.router.routes.extend(_doors().routes)
    install(app)
    describe(app)
    app.add_middleware(Envelope, counts=app.state.counts)
    return app


@cache
def _doors() -> APIRouter:
    """Build the routes of all doors, once: they hold nothing of the gateway that serves them, and take 80 ms."""
    made = APIRouter(generate_unique_id_function=lambda route: route.name)
    for router in OPEN:
        made.include_router(router, responses=error_responses(500, 503))
    for router, scope in DOORS:
        needed = [] if scope is None else [Depends(opened_by(scope))]
        made.include_router(router, dependencies=needed, responses=error_responses(*STATUSES))
    return made


class Envelope:
    """Gives every answer a request id, and one to a request that met a bug; counts them all."""

    def __init__(self, app: ASGIApp, counts: RequestCounts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        scope.setdefault("state", {})["request_id"] = f"req_{secrets.token_hex(12)}"
        status = 0

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_headers_of(scope)]
            await send(message)

        began = time.monotonic()
        self._counts.under_way += 1
        try:
            if self._counts.under_way > MOST_UNDER_WAY:
                raise ApiError(503, "Too many requests are under way.", code="overloaded", headers=SOON)
            await self._app(scope, receive, named)
        except Exception as error:  # of the gateway's own: the caller gets an answer, and the other requests go on
            answer = api_error_of(error).response()
            if status:
                raise
            await answer(scope, receive, named)
        finally:
            self._counts.under_way -= 1
            self._counts.answered(getattr(scope.get("route"), "path", ""), status, time.monotonic() - began)


def _headers_of(scope: AsgiScope) -> list[tuple[bytes, bytes]]:
    """Return the headers of every answer, and those that the door has left for its own."""
    said = {REQUEST_ID: scope["state"]["request_id"], **scope["state"].get("headers", {})}
    return [(name.encode(), text.encode()) for name, text in said.items()]
