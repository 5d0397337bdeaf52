"""A vendor's async SDK, reduced to what a backend needs: post one JSON body, get one reply.

The three SDKs come from one generator and share names; the low-level `post` they document takes our body as it is
and hands back the bytes, so a reply is judged in one place and not by three sets of lenient models.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from fleet.providers.transport import KEY, UnusableReply, http_client

UNUSED_KEY = "set-per-request"
"""A placeholder: the SDKs demand a key when built, and without one they would search the environment."""

ANTHROPIC_VERSION = "2023-06-01"
"""The version of Anthropic's API, as the SDK sends it."""

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

    `response` is the reply class of the SDK's HTTP library; with it, the SDK returns headers and bytes as they came.
    """

    def __init__(
        self, module: ModuleType, client: Any, path: str, response: type, connect_timeout_seconds: float
    ) -> None:
        self._module = module
        self._client = client
        self._path = path
        self._connect_timeout_seconds = connect_timeout_seconds
        self._response = response

    async def post(self, body: Mapping[str, Any], key: str, timeout_seconds: float) -> Reply:
        """Send one request, never a second. `timeout_seconds` bounds the whole exchange.

        The errors are raised without the SDK's error attached, which holds the request and with it the prompt.

        Raises: TimeoutError; ConnectionError if no request was sent, or no reply or half of one came; UnusableReply.
        """
        options = {
            "timeout": self._module.Timeout(
                timeout_seconds, connect=min(timeout_seconds, self._connect_timeout_seconds)
            ),
            "follow_redirects": False,
        }
        sending = KEY.set(key)
        try:
            # httpx bounds each read; a server that drips bytes would never end one
            async with asyncio.timeout(timeout_seconds):
                reply = await self._client.post(self._path, cast_to=self._response, body=body, options=options)
        except self._module.APIStatusError as error:
            return Reply(error.response.status_code, error.response.headers, error.response.content)
        except self._module.APITimeoutError as error:
            raise (ConnectionError if type(error.__cause__).__name__ in NEVER_SENT else TimeoutError) from None
        except self._module.APIConnectionError as error:
            raise (UnusableReply if isinstance(error.__cause__, UnusableReply) else ConnectionError) from None
        finally:
            KEY.reset(sending)
        return Reply(reply.status_code, reply.headers, reply.content)

    async def close(self) -> None:
        await self._client.close()


@dataclass(frozen=True, slots=True)
class WayOut:
    """A provider's address and the way to it. `proxy_url` and `ca_path` are those of the settings."""

    base_url: str
    connect_timeout_seconds: float
    proxy_url: str | None = None
    ca_path: Path | None = None


def openai_sdk(way: WayOut) -> Sdk:
    import httpx2
    import openai

    _never_debug("openai")
    http = http_client(httpx2, {"authorization": "Bearer {key}"}, way.proxy_url, way.ca_path)
    client = openai.AsyncOpenAI(api_key=UNUSED_KEY, base_url=way.base_url, max_retries=0, http_client=http)
    return Sdk(openai, client, "/chat/completions", httpx2.Response, way.connect_timeout_seconds)


def groq_sdk(way: WayOut) -> Sdk:
    import groq
    import httpx

    _never_debug("groq")
    http = http_client(httpx, {"authorization": "Bearer {key}"}, way.proxy_url, way.ca_path)
    client = groq.AsyncGroq(api_key=UNUSED_KEY, base_url=way.base_url, max_retries=0, http_client=http)
    return Sdk(groq, client, "/openai/v1/chat/completions", httpx.Response, way.connect_timeout_seconds)


def anthropic_sdk(way: WayOut) -> Sdk:
    import anthropic
    import httpx2

    _never_debug("anthropic")
    headers = {"x-api-key": "{key}", "anthropic-version": ANTHROPIC_VERSION}
    client = anthropic.AsyncAnthropic(
        api_key=UNUSED_KEY,
        base_url=way.base_url,
        max_retries=0,
        http_client=http_client(httpx2, headers, way.proxy_url, way.ca_path),
        open_telemetry=False,  # the fleet records its own spans; a second set would come without the job
    )
    return Sdk(anthropic, client, "/v1/messages", httpx2.Response, way.connect_timeout_seconds)


def _never_debug(logger_name: str) -> None:
    """Keep the SDK's logger above debug, where it may log whole requests: prompts are never logged."""
    logger = logging.getLogger(logger_name)
    logger.setLevel(max(logging.INFO, logger.level))
