from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx
import pytest
from gateways import MemoryTenants, doors_to, gateway
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from fleet.gateway.state import Doors
from fleet.testing import Answered, Job, MemoryFleet, Reply, Script


@dataclass
class Scripted:
    """Answers every job with `reply`, or as `replies` says by its task."""

    reply: Reply = field(default_factory=lambda: Answered("positive"))
    replies: Mapping[str, Reply] = field(default_factory=dict)
    arrived: asyncio.Queue[Job] = field(default_factory=asyncio.Queue)

    def __call__(self, job: Job) -> Reply:
        self.arrived.put_nowait(job)
        return self.replies.get(job.task, self.reply)


@dataclass
class Bench:
    """A gateway in front of a fleet in memory, and its callers."""

    url: str
    doors: Doors
    fleet: MemoryFleet
    script: Scripted
    http: httpx.AsyncClient
    openai: AsyncOpenAI

    @property
    def jobs(self) -> Sequence[Job]:
        return self.fleet.jobs

    @property
    def tenants(self) -> MemoryTenants:
        assert isinstance(self.doors.broker, MemoryTenants)
        return self.doors.broker


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    script = Scripted()
    answer: Script = script
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(MemoryFleet(answer))
        doors = doors_to(fleet)
        url = await stack.enter_async_context(gateway(doors))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=None, verify=False))
        plain = DefaultAsyncHttpxClient(verify=False)  # no certificates to load: there is no TLS
        openai = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=None, http_client=plain)
        stack.push_async_callback(openai.close)
        yield Bench(url, doors, fleet, script, http, openai)
