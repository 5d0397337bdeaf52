"""One backend per provider, wired to the fault server through the real SDKs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from fault_server import FaultServer

from fleet.model.attempt import Outcome
from fleet.model.call import Call
from fleet.model.target import Capability, LatencyClass, Target
from fleet.ports import Backend
from fleet.providers import EnvironmentKeyRing, ProviderSettings, build

KEYS = {
    "OPENAI_API_KEY": "sk-openai-planted-1",
    "GROQ_API_KEY": "gsk-groq-planted-2",
    "ANTHROPIC_API_KEY": "sk-ant-planted-3",
    "FLEET_KEY_OPENAI_mine": "sk-tenant-planted-4",
    "FLEET_KEY_GROQ_mine": "gsk-tenant-planted-4",
    "FLEET_KEY_ANTHROPIC_mine": "sk-ant-tenant-planted-4",
}


@pytest.fixture
def keys() -> dict[str, str]:
    return KEYS


@pytest.fixture
def target() -> Callable[..., Target]:
    def make(provider: str, *capabilities: Capability) -> Target:
        return Target(
            name=f"{provider}-large",
            provider=provider,
            model=f"{provider}-model-7",
            input_usd_per_million_tokens=1.0,
            output_usd_per_million_tokens=2.0,
            context_tokens=8192,
            capabilities=frozenset(capabilities),
            latency=LatencyClass.FAST,
            max_in_flight=8,
        )

    return make


@pytest.fixture(params=["openai", "groq", "anthropic"])
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def backend(
    provider: str, fault_server: FaultServer, target: Callable[..., Target], keys: dict[str, str]
) -> AsyncIterator[Backend]:
    settings = ProviderSettings(base_urls=fault_server.base_urls)
    built = build(target(provider, Capability.TEXT), settings, EnvironmentKeyRing(keys))
    yield built
    await built.close()


@pytest.fixture
def outcomes() -> Callable[..., object]:
    """Runs calls to the end; their outcomes in the order of the calls."""

    async def run(backend: Backend, *calls: Call) -> list[Outcome]:
        found = [pair async for group in backend.run(calls) for pair in group]
        assert sorted(index for index, _ in found) == list(range(len(calls)))
        return [outcome for _, outcome in sorted(found, key=lambda pair: pair[0])]

    return run
