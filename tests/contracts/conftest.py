from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
from queue_rigs import MemoryRig, Rig, jetstream_rig

from queues.server.embedded import EmbeddedServer

OpenRig = Callable[..., Awaitable[Rig]]


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(params=["memory", "jetstream"])
async def open_rig(request: pytest.FixtureRequest) -> AsyncIterator[OpenRig]:
    """Opens an empty broker whose leases last `ack_wait_seconds`."""
    async with AsyncExitStack() as stack:

        async def build(ack_wait_seconds: float = 30.0) -> Rig:
            if request.param == "memory":
                return MemoryRig(ack_wait_seconds)
            server: EmbeddedServer = request.getfixturevalue("nats_server")
            return await jetstream_rig(stack, server.url, ack_wait_seconds)

        yield build


@pytest.fixture
async def rig(open_rig: OpenRig) -> Rig:
    return await open_rig()
