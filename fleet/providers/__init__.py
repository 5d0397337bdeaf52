"""Models outside the fleet: OpenAI, Groq, Anthropic and every server that speaks the OpenAI format.

An SDK is imported when its first backend is built, so a fleet pays only for the providers it uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleet.model.errors import BackendUnavailable
from fleet.model.target import Target
from fleet.ports import Backend
from fleet.providers.backend import ProviderBackend
from fleet.providers.keys import EnvironmentKeyRing, KeyRing, KeyUnavailable
from fleet.providers.openai.wire import OpenAIWire
from fleet.providers.sdk import WayOut, anthropic_sdk, groq_sdk, openai_sdk

__all__ = ["EnvironmentKeyRing", "KeyRing", "KeyUnavailable", "ProviderSettings", "build"]

BASE_URLS: Mapping[str, str] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "groq": "https://api.groq.com",
}


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """The way to providers: `base_urls`, by provider, replace the vendors' own.

    A provider named only there speaks the OpenAI format. Every call goes through the proxy at `proxy_url`, if there is
    one, and trusts the certificates in `ca_path` beside those of the public authorities. Proxies and certificates named
    in the environment are not used.
    """

    base_urls: Mapping[str, str] = field(default_factory=dict)
    connect_timeout_seconds: float = 5.0
    proxy_url: str | None = field(default=None, repr=False)
    ca_path: Path | None = None


def build(target: Target, settings: ProviderSettings, keys: KeyRing) -> Backend:
    """Return the backend that runs `target`.

    Raises: BackendUnavailable if the provider has no base URL.
    """
    base_url = settings.base_urls.get(target.provider, BASE_URLS.get(target.provider))
    if base_url is None:
        raise BackendUnavailable(f"target {target.name}: no base URL for provider {target.provider}")
    way = WayOut(base_url, settings.connect_timeout_seconds, settings.proxy_url, settings.ca_path)
    match target.provider:
        case "anthropic":
            from fleet.providers.anthropic.wire import AnthropicWire

            return ProviderBackend(target.provider, AnthropicWire(target), anthropic_sdk(way), keys)
        case "groq":
            return ProviderBackend(target.provider, OpenAIWire(target), groq_sdk(way), keys)
        case _:
            return ProviderBackend(target.provider, OpenAIWire(target), openai_sdk(way), keys)
