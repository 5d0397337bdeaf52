"""A gateway with API keys, in front of a fleet in memory, and two tenants who call it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property

import httpx
from gateways import MemoryTenants, doors_to, gateway
from openai import AsyncOpenAI
from patience import eventually

from fleet.gateway.access.keyring import Keyring
from fleet.gateway.state import Doors
from fleet.model.api_key import Scope, issue
from fleet.testing import Answered, MemoryFleet
from queues.jetstream.stores.keys import MemoryKeys


@dataclass
class Tenant:
    """A tenant's key, and clients that send it."""

    name: str
    key_id: str
    key: str
    http: httpx.AsyncClient
    url: str

    @cached_property
    def openai(self) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.key, max_retries=0, timeout=None)


@dataclass
class TwoTenants:
    url: str
    doors: Doors
    fleet: MemoryFleet
    keys: MemoryKeys
    keyring: Keyring
    callers: dict[str, Tenant] = field(default_factory=dict)

    @property
    def acme(self) -> Tenant:
        return self.callers["acme"]

    @property
    def beta(self) -> Tenant:
        return self.callers["beta"]

    @property
    def tenants(self) -> MemoryTenants:
        assert isinstance(self.doors.broker, MemoryTenants)
        return self.doors.broker

    async def new_key(self, number: int, tenant: str, scopes: frozenset[Scope], expires_at: float | None = None) -> str:
        """Add a key, and return its text once the gateway knows it."""
        key, text = issue(f"{number:016x}", f"{number:043d}", tenant, "", scopes, 0.0, expires_at)
        await self.keys.add(key)
        await eventually(lambda: self.keyring.find(text))
        return text

    async def revoke(self, tenant: Tenant) -> None:
        """Revoke the tenant's key, and return once the gateway knows."""
        await self.keys.revoke(tenant.key_id, 1.0)
        await eventually(lambda: self._has_lost(tenant))

    async def _has_lost(self, tenant: Tenant) -> bool:
        return await self.keyring.find(tenant.key) is None


@asynccontextmanager
async def two_tenants(fleet: MemoryFleet | None = None) -> AsyncIterator[TwoTenants]:
    async with AsyncExitStack() as stack:
        fleet = fleet or await stack.enter_async_context(MemoryFleet(lambda job: Answered("Hello.")))
        keys = MemoryKeys()
        keyring = await stack.enter_async_context(Keyring(keys))
        doors = doors_to(fleet, keyring)
        url = await stack.enter_async_context(gateway(doors))
        both = TwoTenants(url, doors, fleet, keys, keyring)
        for number, name in enumerate(("acme", "beta"), 1):
            text = await both.new_key(number, name, frozenset(Scope))
            client = httpx.AsyncClient(
                base_url=url, timeout=None, verify=False, headers={"authorization": f"Bearer {text}"}
            )
            http = await stack.enter_async_context(client)
            both.callers[name] = Tenant(name, f"{number:016x}", text, http, url)
        yield both
        for caller in both.callers.values():
            if "openai" in vars(caller):  # made at its first use, for it takes a second
                await caller.openai.close()
