"""A vendor's async SDK, reduced to what the fleet needs: post one JSON body, or ask for the models; get one reply.

The three SDKs come from one generator and share names; the low-level `post` they document takes our body as it is
and hands back the bytes, so a reply is judged in one place and not by three sets of lenient models.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from fleet.model.target import Auth, Provider, WireFormat
from fleet.providers.keys import KeyUnavailable
from fleet.providers.transport import (
    FORM,
    KEY,
    MOST_REPLY_BYTES,
    Anonymous,
    Identity,
    KeyInHeader,
    UnusableReply,
    http_client,
    never_debug,
)

UNUSED_KEY = "set-per-request"
"""A placeholder: the SDKs demand a key when built, and without one they would search the environment."""

ANTHROPIC_VERSION = "2023-06-01"
"""The version of Anthropic's API, as the SDK sends it."""

BEDROCK = "bedrock"
"""The service whose API for Anthropic's models has paths and a body of its own."""

NEVER_SENT = frozenset({"ConnectTimeout", "PoolTimeout", "WriteTimeout"})
"""Timeouts after which no provider has the whole request: nothing runs, and nothing is charged."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP reply. `headers` looks names up in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Sdk:
    """One client of one vendor. `module` is the SDK, `client` its async client, `path` the path requests go to.

    `models_path` is that of the list of models.
    `response` is the reply class of the SDK's HTTP library; with it, the SDK returns headers and bytes as they came.
    """

    def __init__(
        self,
        module: ModuleType,
        client: Any,
        path: str,
        models_path: str,
        response: type,
        connect_timeout_seconds: float,
    ) -> None:
        self._module = module
        self._client = client
        self._path = path
        self._models_path = models_path
        self._connect_timeout_seconds = connect_timeout_seconds
        self._response = response

    async def post(self, body: Mapping[str, Any], key: str, timeout_seconds: float) -> Reply:
        """Send one request, never a second. `timeout_seconds` bounds the whole exchange.

        Raises: as `_exchange` does.
        """
        post = functools.partial(self._client.post, self._path, cast_to=self._response, body=body)
        return await self._exchange(post, key, timeout_seconds)

    async def models(self, below: str, key: str, timeout_seconds: float) -> Reply:
        """Ask for the list of models, or for what is `below` it.

        Raises: as `_exchange` does.
        """
        get = functools.partial(self._client.get, self._models_path + below, cast_to=self._response)
        return await self._exchange(get, key, timeout_seconds)

    async def request(
        self,
        method: str,
        path: str,
        key: str,
        timeout_seconds: float,
        body: Mapping[str, Any] | None = None,
        file: tuple[str, bytes] | None = None,
    ) -> Reply:
        """Send one request to `path` below the API's version; a `file` (name, content) goes beside the `body`'s fields.

        Raises: as `_exchange` does.
        """
        send: Callable[..., Awaitable[Any]] = getattr(self._client, method)
        extra: dict[str, Any] = {} if body is None else {"body": body}
        if file is not None:
            extra["files"] = [("file", file)]
        call = functools.partial(
            send, self._models_path.removesuffix("/models") + path, cast_to=self._response, **extra
        )
        return await self._exchange(call, key, timeout_seconds, form=file is not None)

    async def _exchange(
        self, send: Callable[..., Awaitable[Any]], key: str, timeout_seconds: float, form: bool = False
    ) -> Reply:
        """Send one request and return the reply, of whatever status.

        The errors are raised without the SDK's error attached, which holds the request and with it the prompt.

        Raises: TimeoutError; ConnectionError if no request was sent, or no reply or half of one came; UnusableReply;
        KeyUnavailable if nothing proves who is calling.
        """
        options: dict[str, Any] = {
            "timeout": self._module.Timeout(
                timeout_seconds, connect=min(timeout_seconds, self._connect_timeout_seconds)
            ),
            "follow_redirects": False,
        }
        if form:
            options["headers"] = {"Content-Type": FORM}
        sending = KEY.set(key)
        try:
            # httpx bounds each read; a server that drips bytes would never end one
            async with asyncio.timeout(timeout_seconds):
                reply = await send(options=options)
        except self._module.APIStatusError as error:
            return Reply(error.response.status_code, error.response.headers, error.response.content)
        except self._module.APITimeoutError as error:
            raise (ConnectionError if type(error.__cause__).__name__ in NEVER_SENT else TimeoutError) from None
        except self._module.APIConnectionError as error:
            known = isinstance(error.__cause__, UnusableReply | KeyUnavailable)
            raise (error.__cause__ if known else ConnectionError) from None
        finally:
            KEY.reset(sending)
        return Reply(reply.status_code, reply.headers, reply.content)

    async def close(self) -> None:
        await self._client.close()


@dataclass(frozen=True, slots=True)
class WayOut:
    """A provider, whose `base_url` is that of one target, and the way to it.

    `proxy_url` and `ca_path` are those of the settings. `most_reply_bytes` bounds a reply.
    """

    provider: Provider
    connect_timeout_seconds: float
    proxy_url: str | None = None
    ca_path: Path | None = None
    most_reply_bytes: int = MOST_REPLY_BYTES

    def http_client(self, library: ModuleType, key_header: KeyInHeader, **headers: str) -> Any:
        """Return a client that proves who is calling; `key_header` is the wire's own way to send a key."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        identity = identity_of(self.provider, key_header)
        headers = sent | dict(self.provider.headers)
        return http_client(library, headers, identity, self.proxy_url, self.ca_path, self.most_reply_bytes)

    def of_client(self, http: Any) -> dict[str, Any]:
        """Return the arguments that the clients of all SDKs share."""
        query = dict(self.provider.query)
        return {"base_url": self.provider.base_url, "max_retries": 0, "http_client": http, "default_query": query}


BEARER = KeyInHeader("authorization", "Bearer {key}")


def identity_of(provider: Provider, key_header: KeyInHeader) -> Identity:
    """Return the way the provider knows its caller.

    Raises: BackendUnavailable if the part that signs is not installed.
    """
    if provider.auth in (Auth.AWS, Auth.SAGEMAKER):
        from fleet.providers.aws import aws_identity

        return aws_identity(provider)
    if provider.auth is Auth.NONE:
        return Anonymous()
    return key_header if provider.key_header is None else KeyInHeader(provider.key_header.lower(), "{key}")


def sdk_of(way: WayOut) -> Sdk:
    """Return the SDK that speaks the provider's wire."""
    match way.provider.wire:
        case WireFormat.ANTHROPIC:
            return anthropic_sdk(way)
        case WireFormat.GROQ:
            return groq_sdk(way)
        case WireFormat.OPENAI:
            return openai_sdk(way)


def openai_sdk(way: WayOut) -> Sdk:
    import httpx2
    import openai

    never_debug("openai")
    client = openai.AsyncOpenAI(api_key=UNUSED_KEY, **way.of_client(way.http_client(httpx2, BEARER)))
    return Sdk(openai, client, "/chat/completions", "/models", httpx2.Response, way.connect_timeout_seconds)


def groq_sdk(way: WayOut) -> Sdk:
    import groq
    import httpx

    never_debug("groq")
    client = groq.AsyncGroq(api_key=UNUSED_KEY, **way.of_client(way.http_client(httpx, BEARER)))
    paths = "/openai/v1/chat/completions", "/openai/v1/models"
    return Sdk(groq, client, *paths, httpx.Response, way.connect_timeout_seconds)


def anthropic_sdk(way: WayOut) -> Sdk:
    import anthropic
    import httpx2

    never_debug("anthropic")
    key_header = KeyInHeader("x-api-key", "{key}")
    http = way.http_client(httpx2, key_header, anthropic_version=ANTHROPIC_VERSION)
    # The fleet records its own spans; a second set would come without the job.
    shared = {"api_key": UNUSED_KEY, "open_telemetry": False, **way.of_client(http)}
    if way.provider.auth is Auth.AWS and way.provider.aws_service == BEDROCK:
        client: Any = anthropic.AsyncAnthropicBedrock(aws_region=way.provider.region, **shared)
    else:
        client = anthropic.AsyncAnthropic(**shared)
    return Sdk(anthropic, client, "/v1/messages", "/v1/models", httpx2.Response, way.connect_timeout_seconds)
