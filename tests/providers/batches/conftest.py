"""A provider's batches over real HTTP and real SDKs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from batch_bench import Bench
from batch_server import BatchServer

from fleet.model.target import Capability, Target


@pytest.fixture
async def batch_server() -> AsyncIterator[BatchServer]:
    async with BatchServer() as server:
        yield server


@pytest.fixture
def bench(batch_server: BatchServer, target: Callable[..., Target], provider: str, keys: dict[str, str]) -> Bench:
    return Bench(batch_server, target(provider, Capability.TEXT), keys)
