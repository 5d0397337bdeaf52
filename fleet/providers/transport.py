"""Sends requests with nothing ambient in them, and reads no reply beyond its limit.

The SDKs and their HTTP libraries take headers, proxies, certificates and credentials from environment variables, files
and cookies of earlier replies. Which of them depends on their versions. So every request gets its headers here, all of
them; what the SDK put there is dropped. A proxy and an authority beside the public ones are used where settings say so.
"""

from __future__ import annotations

import functools
import logging
import os
import ssl
import zlib
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from fleet.logs import get_logger

MOST_REPLY_BYTES = 16 * 1024 * 1024
"""The limit on the wire and decompressed. 16,000 tokens with five log-probabilities each are about 12 MB."""

JSON = "application/json"

FORM = "multipart/form-data"
"""The content type of a file that is uploaded; its boundary is the SDK's."""

AMBIENT_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

KEY: ContextVar[str] = ContextVar("provider_key")
"""The key of the request under way. The SDKs never see it: they keep what they are given in errors and copies."""

FRAMING = ("content-length", "transfer-encoding")
"""Headers that say how long the body of a request is."""

AUTHORITY_ERRORS = (OSError, ssl.SSLError, ValueError)

log = get_logger(__name__)


class UnusableReply(Exception):
    """Raised for a reply that is too long, or packed in a way nobody asked for. It was not read to its end."""


class Identity(Protocol):
    """The proof of who is calling."""

    async def headers(self, request: Any, content_type: str) -> dict[str, str]:
        """Return the headers that prove it for this request of httpx or httpx2, sent with that content type.

        Raises: KeyUnavailable if there is nothing to prove it with.
        """


class KeyInHeader:
    """A key in the header `name`; in `value`, `{key}` stands for it."""

    def __init__(self, name: str, value: str) -> None:
        self._name = name
        self._value = value

    async def headers(self, request: Any, content_type: str) -> dict[str, str]:
        return {self._name: self._value.replace("{key}", KEY.get())}


class Anonymous:
    """No proof at all, for servers that ask for none."""

    async def headers(self, request: Any, content_type: str) -> dict[str, str]:
        return {}


class Transport:
    """Wraps an `AsyncHTTPTransport` of httpx or httpx2 (`library`) with the rules of this module.

    `headers` go with every request, beside those that prove the caller's `identity`. `most_bytes` bounds a reply.
    """

    def __init__(
        self, library: ModuleType, inner: Any, headers: Mapping[str, str], identity: Identity, most_bytes: int
    ) -> None:
        self._library = library
        self._inner = inner
        self._headers = {name.lower(): value for name, value in headers.items()}
        self._identity = identity
        self._most_bytes = most_bytes
        self._stream: type = type("BoundedStream", (_Bounded, library.AsyncByteStream), {})

    async def handle_async_request(self, request: Any) -> Any:
        request.headers = self._library.Headers(await self._headers_of(request))
        response = await self._inner.handle_async_request(request)
        response.stream = self._stream(
            response.stream, response.headers.get("content-encoding", "identity"), self._most_bytes
        )
        for name in ("content-encoding", "content-length", "set-cookie"):
            response.headers.pop(name, None)
        return response

    async def _headers_of(self, request: Any) -> dict[str, str]:
        framing = {name: request.headers[name] for name in FRAMING if name in request.headers}
        said = request.headers.get("content-type", JSON)
        content_type = said if said.startswith(FORM) else JSON
        return {
            **self._headers,
            "host": request.url.netloc.decode("ascii"),
            "accept": JSON,
            "accept-encoding": "gzip",
            "content-type": content_type,
            "user-agent": "fleet",
            **framing,
            **await self._identity.headers(request, content_type),
        }

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Bounded:
    """The stream of a reply, decompressed.

    Raises: UnusableReply beyond `most_bytes`.
    """

    def __init__(self, inner: Any, coding: str, most_bytes: int) -> None:
        self._inner = inner
        self._most_bytes = most_bytes
        self._coding = coding.strip().lower()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._coding not in ("identity", "gzip", "x-gzip", ""):
            raise UnusableReply(f"content-encoding {self._coding[:20]!r} was not asked for")
        unpack = _Gzip().unpack if "gzip" in self._coding else None
        on_wire = unpacked = 0
        async for chunk in self._inner:
            on_wire += len(chunk)
            if on_wire > self._most_bytes:
                raise UnusableReply(f"more than {self._most_bytes} bytes")
            piece = chunk if unpack is None else unpack(chunk, self._most_bytes - unpacked)
            unpacked += len(piece)
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Gzip:
    """Decompresses pieces of gzip, never to more bytes than asked for."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def unpack(self, data: bytes, most: int) -> bytes:
        out = bytearray()
        try:
            while data:
                if self._member.eof:  # RFC 1952, 2.2: a file is a series of members
                    self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
                out += self._member.decompress(data, most + 1 - len(out))
                if len(out) > most:
                    raise UnusableReply(f"more than {MOST_REPLY_BYTES} bytes, decompressed")
                data = self._member.unconsumed_tail or self._member.unused_data
        except zlib.error:
            raise UnusableReply("no gzip") from None
        return bytes(out)


class _Refusing:
    """Refuses every call: the proxy or the authority in the settings cannot be used and must not be bypassed."""

    def __init__(self, library: ModuleType) -> None:
        self._library = library

    async def handle_async_request(self, request: Any) -> Any:
        raise self._library.ConnectError("the settings of the way out are unusable")

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""


def http_client(
    library: ModuleType,
    headers: Mapping[str, str],
    identity: Identity,
    proxy_url: str | None,
    ca_path: Path | None,
    most_bytes: int = MOST_REPLY_BYTES,
) -> Any:
    """Return an `AsyncClient` of httpx or httpx2 for one provider."""
    inner = _way_out(library, proxy_url, ca_path)
    return library.AsyncClient(transport=Transport(library, inner, headers, identity, most_bytes), trust_env=False)


def _way_out(library: ModuleType, proxy_url: str | None, ca_path: Path | None) -> Any:
    _note_ambient(proxy_url)
    try:
        if proxy_url is not None and not library.URL(proxy_url).host:
            raise ValueError("a proxy without a host")
        context = _context(ca_path)
        limits = library.Limits(max_connections=1000, max_keepalive_connections=100)
        return library.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits, proxy=proxy_url)
    except (*AUTHORITY_ERRORS, ImportError, library.InvalidURL) as error:
        _note_unusable(proxy_url, ca_path, type(error).__name__)
        return _Refusing(library)


@functools.cache
def _context(ca_path: Path | None) -> ssl.SSLContext:
    """Trust httpx's public authorities and those in the file. The result is cached: loading them takes 20 ms."""
    import httpx

    context = httpx.create_ssl_context(trust_env=False)
    if ca_path is not None:
        context.load_verify_locations(cafile=ca_path)
    return context


@functools.cache
def _note_unusable(proxy_url: str | None, ca_path: Path | None, error: str) -> None:
    """Tell the operator once. The URL is not logged: it may hold a password."""
    names = [name for name, value in (("proxy", proxy_url), ("CA file", ca_path)) if value is not None]
    log.error("providers_not_called", settings=names, error=error)


@functools.cache
def _note_ambient(proxy_url: str | None) -> None:
    found = [name for name in AMBIENT_PROXIES if os.environ.get(name) or os.environ.get(name.lower())]
    if found and proxy_url is None:
        log.warning("ambient_proxy_not_used", variables=found, advice="set FLEET_PROVIDER_PROXY_URL")


def never_debug(logger_name: str) -> None:
    """Keep an SDK's logger above debug, where it may log whole requests: prompts are never logged."""
    logger = logging.getLogger(logger_name)
    logger.setLevel(max(logging.INFO, logger.level))
