"""The console as an ASGI application: its routes, who gets in, and what every answer says to the browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fleet.console.access import COOKIE, SESSION_SECONDS, Access
from fleet.console.assets import assets
from fleet.console.pages import NAVIGATION, PAGES, ConsolePage, Elsewhere, Maker, NoSuchPage, Query
from fleet.console.rendering import render
from fleet.console.sources import Sources
from fleet.logs import get_logger

log = get_logger(__name__)

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""The headers of every answer. Nothing is loaded from elsewhere, nothing is inline, and nobody may frame it."""

MAX_STREAMS = 100
"""Visitors that are kept up to date at once; the pages of others stay as they are."""

MAX_FORM_BYTES = 4096

IDLE_SECONDS = 15.0
"""Seconds without a change after which a stream says that it is alive: proxies end those that are silent."""

LIVE = "/live"

Opening = AbstractAsyncContextManager[Sources]


@dataclass(slots=True)
class Console:
    """The state of one console: who gets in, its sources once it runs, and its open streams."""

    access: Access
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    streams: int = 0
    sources: Sources | None = None

    def running(self) -> Sources:
        assert self.sources is not None, "requests come after the start"
        return self.sources


def application(access: Access, opening: Opening) -> Starlette:
    """Return the console; `opening` provides its sources for as long as it runs. `state.console` is its `Console`."""
    console = Console(access)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with opening as console.sources:
            yield

    routes = [Route(path, _page(console, maker)) for path, maker in PAGES.items()]
    routes += [Route(LIVE + path, _stream(console, maker)) for path, maker in PAGES.items()]
    routes += [
        Route("/login", _login_page(console), methods=["GET"]),
        Route("/login", _login(console), methods=["POST"]),
        Route("/logout", _logout, methods=["POST"]),
        Route("/static/{name:path}", _static),
        Route("/healthz", _healthy),
    ]
    middleware = [Middleware(AccessGuard, console=console), Middleware(GZipMiddleware, compresslevel=6)]
    handlers = {404: _not_found(console), 500: _failed(console)}
    app = Starlette(routes=routes, middleware=middleware, lifespan=lifespan, exception_handlers=handlers)
    app.state.console = console
    return app


class AccessGuard:
    """Lets nobody past it who is not logged in, and puts the headers on every answer."""

    OPEN = ("/login", "/healthz")

    def __init__(self, app: ASGIApp, console: Console) -> None:
        self._app = app
        self._console = console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                added = HEADERS | {"cache-control": "no-store"}
                message["headers"] += [
                    (name.encode(), value.encode()) for name, value in added.items() if name.encode() not in given
                ]
            await send(message)

        request = Request(scope)
        path = _path(request)
        if path in self.OPEN or path.startswith("/static/") or admitted(self._console, request):
            return await self._app(scope, receive, headed)
        return await _turned_away(self._console, request)(scope, receive, headed)


def admitted(console: Console, request: Request) -> bool:
    now = console.running().wall()
    return console.access.admits(request.cookies.get(COOKIE), request.headers, now)


def _path(request: Request) -> str:
    """Return the path below the place where the console is mounted."""
    path, root = request.scope["path"], request.scope.get("root_path", "")
    return path.removeprefix(root) or "/" if root else path


def _turned_away(console: Console, request: Request) -> Response:
    """Answer somebody who is not logged in.

    A browser keeps a strict cookie to itself when a link elsewhere, such as an alert's, leads here: a page that asks
    for itself once more then gets it.
    """
    path = _path(request)
    if request.method != "GET" or path.startswith(LIVE):
        return PlainTextResponse("log in first", 401)
    if request.headers.get("sec-fetch-site") == "cross-site":
        return HTMLResponse(_door(console, request, "/", again=True), 200)
    wanted = quote(path + (f"?{request.url.query}" if request.url.query else ""), safe="")
    return RedirectResponse(f"{_root(request)}/login?next={wanted}", 303)


def _root(request: Request) -> str:
    root: str = request.scope.get("root_path", "")
    return root.rstrip("/")


def _page(console: Console, maker: Maker) -> Any:
    async def answer(request: Request) -> Response:
        try:
            page = await maker(console.running(), _query(request))
        except Elsewhere as elsewhere:
            return RedirectResponse(_root(request) + elsewhere.path, 303)
        except NoSuchPage as error:
            raise HTTPException(404, str(error)) from None
        return HTMLResponse(_whole(console, request, page))

    return answer


def _query(request: Request) -> Query:
    return {**request.query_params, **request.path_params}


def _whole(console: Console, request: Request, page: ConsolePage) -> str:
    full = console.streams >= MAX_STREAMS
    query = f"?{request.url.query}" if request.url.query else ""
    path = quote(_path(request))
    return render(
        "page.html",
        {
            **page.values,
            "root": _root(request),
            "title": page.title,
            "section": page.section,
            "content": page.content,
            "controls": page.controls,
            "chart": page.content == "money.html",
            "navigation": NAVIGATION,
            "can_leave": COOKIE in request.cookies,
            "stream": None if page.seconds is None or full else LIVE + path + query,
        },
    )


def _stream(console: Console, maker: Maker) -> Any:
    """Answer with the content of a page, again whenever it has changed."""

    async def answer(request: Request) -> Response:
        if console.streams >= MAX_STREAMS:
            return PlainTextResponse("too many streams are open", 503)
        return StreamingResponse(_changes(console, maker, request), media_type="text/event-stream")

    return answer


async def _changes(console: Console, maker: Maker, request: Request) -> AsyncIterator[str]:
    shown, silent, query, root = "", 0.0, _query(request), _root(request)
    console.streams += 1
    try:
        while admitted(console, request):
            try:
                page = await maker(console.running(), query)
            except (Elsewhere, NoSuchPage):
                return
            html = render(page.content, {**page.values, "root": root, "stream": None})
            if html != shown:
                yield "".join(f"data: {line}\n" for line in html.splitlines()) + "\n"
                shown, silent = html, 0.0
            elif silent >= IDLE_SECONDS:
                yield ": still here\n\n"
                silent = 0.0
            if page.seconds is None:
                yield "event: done\ndata: done\n\n"
                return
            if await _stopped(console, page.seconds):
                return
            silent += page.seconds
    finally:
        console.streams -= 1


async def _stopped(console: Console, seconds: float) -> bool:
    """Wait, and return whether the console stops."""
    try:
        async with asyncio.timeout(seconds):
            return await console.stopping.wait()
    except TimeoutError:
        return False


def _login_page(console: Console) -> Any:
    async def answer(request: Request) -> Response:
        wanted = _inside(request.query_params.get("next", "/"))
        if admitted(console, request):
            return RedirectResponse(_root(request) + wanted, 303)
        return HTMLResponse(_door(console, request, wanted))

    return answer


def _login(console: Console) -> Any:
    async def answer(request: Request) -> Response:
        said = await _form(request)
        wanted = _inside(said.get("next", "/"))
        client = request.client.host if request.client else None
        if not console.access.knows(said.get("token", "")):
            log.warning("console_login_refused", client=client)
            return HTMLResponse(_door(console, request, wanted, "That is not the token."), 403)
        log.info("console_login", client=client)
        entered = RedirectResponse(_root(request) + wanted, 303)
        entered.set_cookie(
            COOKIE,
            console.access.session(console.running().wall()),
            max_age=SESSION_SECONDS,
            path=_root(request) or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return entered

    return answer


async def _form(request: Request) -> Mapping[str, str]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise HTTPException(413)
    return dict(parse_qsl(body.decode("utf-8", "replace")))


def _inside(wanted: str) -> str:
    """Return the path if it is one of the console's own: nobody is sent elsewhere from here."""
    is_own = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if is_own else "/"


async def _logout(request: Request) -> Response:
    left = RedirectResponse(f"{_root(request)}/login", 303)
    left.delete_cookie(COOKIE, path=_root(request) or "/", httponly=True, samesite="strict")
    return left


def _door(console: Console, request: Request, wanted: str, problem: str | None = None, again: bool = False) -> str:
    values = {"root": _root(request), "next": wanted, "problem": problem, "again": again}
    return render("login.html", {**values, "takes_token": console.access.token is not None})


async def _static(request: Request) -> Response:
    asset = assets().get(request.path_params["name"])
    if asset is None:
        raise HTTPException(404)
    kept = request.query_params.get("v") == asset.digest
    headers = {
        "cache-control": "public, max-age=31536000, immutable" if kept else "no-cache",
        "vary": "accept-encoding",
    }
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.packed, media_type=asset.content_type, headers={**headers, "content-encoding": "gzip"})
    return Response(asset.body, media_type=asset.content_type, headers=headers)


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok")


def _not_found(console: Console) -> Any:
    async def answer(request: Request, error: HTTPException) -> Response:
        said = error.detail if error.detail != "Not Found" else "There is no such page."
        return HTMLResponse(_whole(console, request, _message("Not found", said)), 404)

    return answer


def _failed(console: Console) -> Any:
    async def answer(request: Request, error: Exception) -> Response:
        log.error("console_page_failed", path=request.url.path, exc_info=error)
        said = "This page could not be made; the console's log says why. The other pages may work."
        return HTMLResponse(_whole(console, request, _message("Something went wrong", said)), 500)

    return answer


def _message(title: str, message: str) -> ConsolePage:
    return ConsolePage(title, "", "message.html", {"message": message, "links": ()})
