"""Models outside the fleet: OpenAI, Groq, Anthropic and every provider of the catalogue that speaks their formats.

An SDK is imported when its first backend is built, so a fleet pays only for the providers it uses.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from fleet.model.errors import BackendUnavailable
from fleet.model.target import Provider, Target, WireFormat
from fleet.ports import Backend
from fleet.providers.backend import ProviderBackend
from fleet.providers.batches.anthropic import AnthropicBatches
from fleet.providers.batches.api import BatchApi
from fleet.providers.batches.claims import BatchClaims
from fleet.providers.batches.openai import OpenAIBatches
from fleet.providers.batches.sending import ProviderBatches
from fleet.providers.headroom import OwnCount
from fleet.providers.keys import EnvironmentKeyRing, KeyRing, KeyUnavailable
from fleet.providers.openai.wire import OpenAIWire
from fleet.providers.prompt_cache import PromptCache
from fleet.providers.sdk import WayOut, sdk_of
from fleet.providers.wire import Wire
from policies.caching.prompt import cache_prices
from policies.rules.providers import BUILT_IN

__all__ = [
    "EnvironmentKeyRing",
    "KeyRing",
    "KeyUnavailable",
    "OwnCount",
    "ProviderSettings",
    "build",
    "build_batches",
    "way_to",
]

MOST_ROWS_BYTES = 256 * 1024 * 1024
"""The limit of a file with the rows of a batch."""


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """The way to providers: `base_urls`, by provider, replace those of their entries.

    Every call goes through the proxy at `proxy_url`, if there is one, and trusts the certificates in `ca_path` beside
    those of the public authorities. Proxies and certificates named in the environment are not used.
    """

    base_urls: Mapping[str, str] = field(default_factory=dict)
    connect_timeout_seconds: float = 5.0
    proxy_url: str | None = field(default=None, repr=False)
    ca_path: Path | None = None
    providers: Mapping[str, Provider] = field(default_factory=lambda: BUILT_IN)


def build(
    target: Target,
    settings: ProviderSettings,
    keys: KeyRing,
    count: OwnCount | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Backend:
    """Return the backend that runs `target`; `count` is shared by the targets of its provider.

    `now` is the clock by which prompts that begin alike come again.

    Raises: BackendUnavailable if the provider is unknown, or needs a part that is not installed.
    """
    way = way_to(target, settings)
    provider = way.provider
    return ProviderBackend(
        target.provider,
        _wire(target, provider),
        sdk_of(way),
        keys,
        OwnCount(provider) if count is None else count,
        PromptCache(target.name, cache_prices(target, provider.wire), now),
    )


def build_batches(
    target: Target,
    settings: ProviderSettings,
    keys: KeyRing,
    claims: BatchClaims,
    now: Callable[[], float],
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> ProviderBatches:
    """Return the batches of `target` at its provider; `now` is unix seconds.

    Raises: BackendUnavailable as `build` does.
    """
    way = replace(way_to(target, settings), most_reply_bytes=MOST_ROWS_BYTES)
    sdk, key = sdk_of(way), functools.partial(keys.resolve, target.provider, None)
    if way.provider.wire is WireFormat.ANTHROPIC:
        api: BatchApi = AnthropicBatches(sdk, key)
    else:
        api = OpenAIBatches(target.provider, sdk, key, is_groq=way.provider.wire is WireFormat.GROQ)
    return ProviderBatches(target.provider, _wire(target, way.provider), api, claims, now, pause)


def way_to(target: Target, settings: ProviderSettings) -> WayOut:
    """Return the address of `target` and the way to it.

    Raises: BackendUnavailable if the provider is unknown.
    """
    provider = settings.providers.get(target.provider)
    if provider is None:
        raise BackendUnavailable(f"target {target.name}: no provider {target.provider}")
    base_url = settings.base_urls.get(target.provider, provider.base_url)
    provider = replace(provider, base_url=base_url.replace("{model}", quote(target.model, safe="")))
    return WayOut(provider, settings.connect_timeout_seconds, settings.proxy_url, settings.ca_path)


def _wire(target: Target, provider: Provider) -> Wire:
    if provider.wire is WireFormat.ANTHROPIC:
        from fleet.providers.anthropic.wire import AnthropicWire

        return AnthropicWire(target)
    return OpenAIWire(target, is_groq=provider.wire is WireFormat.GROQ)
