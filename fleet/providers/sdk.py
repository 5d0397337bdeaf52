"""A vendor's async SDK, reduced to what a backend needs: post one JSON body, get one reply.

The three SDKs come from one generator and share names; the low-level `post` they document takes our body as it is
and hands back the bytes, so a reply is judged in one place and not by three sets of lenient models.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

UNUSED_KEY = "set-per-request"
"""The SDKs demand a key when built; without one they would search the environment."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back over HTTP. `headers` looks names up in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Sdk:
    """One client of one vendor. `module` is the SDK, `client` its async client, `path` where requests go.

    `response` is the reply of the SDK's HTTP library; asked for it, the SDK gives headers and bytes as they came.
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
        """One request, never a second. `timeout_seconds` bounds the whole exchange.

        Raises `TimeoutError` and `ConnectionError` (no reply, or half of one); both without the SDK's error
        attached, which holds the request and with it key and prompt.
        """
        options = {
            "timeout": self._module.Timeout(
                timeout_seconds, connect=min(timeout_seconds, self._connect_timeout_seconds)
            ),
            "follow_redirects": False,
        }
        client = self._client.with_options(api_key=key)  # a light copy on the same connections
        try:
            # httpx bounds each read; a server that drips bytes would never end one
            async with asyncio.timeout(timeout_seconds):
                reply = await client.post(self._path, cast_to=self._response, body=body, options=options)
        except self._module.APIStatusError as error:
            return Reply(error.response.status_code, error.response.headers, error.response.content)
        except self._module.APITimeoutError:
            raise TimeoutError from None
        except self._module.APIConnectionError:
            raise ConnectionError from None
        return Reply(reply.status_code, reply.headers, reply.content)

    async def close(self) -> None:
        await self._client.close()


def openai_sdk(base_url: str, connect_timeout_seconds: float) -> Sdk:
    import httpx2
    import openai

    _never_debug("openai")
    client = openai.AsyncOpenAI(api_key=UNUSED_KEY, base_url=base_url, max_retries=0)
    return Sdk(openai, client, "/chat/completions", httpx2.Response, connect_timeout_seconds)


def groq_sdk(base_url: str, connect_timeout_seconds: float) -> Sdk:
    import groq
    import httpx

    _never_debug("groq")
    client = groq.AsyncGroq(api_key=UNUSED_KEY, base_url=base_url, max_retries=0)
    return Sdk(groq, client, "/openai/v1/chat/completions", httpx.Response, connect_timeout_seconds)


def anthropic_sdk(base_url: str, connect_timeout_seconds: float) -> Sdk:
    import anthropic
    import httpx2

    _never_debug("anthropic")
    client = anthropic.AsyncAnthropic(
        api_key=UNUSED_KEY,
        base_url=base_url,
        max_retries=0,
        open_telemetry=False,  # the fleet records its own spans; a second set would come without the job
    )
    return Sdk(anthropic, client, "/v1/messages", httpx2.Response, connect_timeout_seconds)


def _never_debug(logger_name: str) -> None:
    """At debug level the SDKs may log whole requests; prompts are never logged."""
    logger = logging.getLogger(logger_name)
    logger.setLevel(max(logging.INFO, logger.level))
