"""A response in the background is answered although every process dies by SIGKILL while it waits."""

from __future__ import annotations

import os
import signal
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from memory_fleet import MemoryFleet
from openai import AsyncOpenAI

from fleet.app import apply_topology
from queues.jetstream.client.connection import connect
from queues.jetstream.queue import JetStreamQueue
from queues.server.embedded import EmbeddedServer

ROOT = Path(__file__).parents[2]
ASKED = {"model": "auto", "input": "I love the new calendar."}


@asynccontextmanager
async def gateway(nats_url: str) -> AsyncIterator[AsyncOpenAI]:
    """Start `fleet gateway run`, provide a client of it, and kill it at the end."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
    settings = {
        "FLEET_NATS_URL": nats_url,
        "FLEET_GATEWAY_PORT": "0",
        "FLEET_METRICS_PORT": "0",
        "FLEET_GATEWAY_KEYS": "none",
    }
    command = (sys.executable, "-m", "fleet.cli", "gateway", "run")
    process = await create_subprocess_exec(
        *command, env=plain | settings | {"PYTHONPATH": str(ROOT)}, stdout=PIPE, stderr=PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        line = (await process.stdout.readline()).decode()
        assert line.startswith("gateway "), (await process.stderr.read()).decode()
        async with AsyncOpenAI(base_url=line.split()[1], api_key="none", max_retries=0, timeout=None) as client:
            yield client
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.proves(
    "A caller of the gateway gets its answer whatever is killed between asking and answering",
    how="real",
    subject="One machine",
)
async def test_everything_is_killed_between_asking_and_answering(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(EmbeddedServer(tmp_path / "nats"))
        await apply_topology(server.url)
        async with gateway(server.url) as client:
            stream = await client.responses.create(**ASKED, background=True, stream=True)
            first = await anext(stream)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        server.start()
        connection = await connect(server.url)
        stack.push_async_callback(connection.close)
        fleet = MemoryFleet()
        fleet.queue = JetStreamQueue(connection)  # type: ignore[assignment]
        async with fleet.running(), gateway(server.url) as client:
            response_id = first.response.id
            rest = await client.responses.retrieve(response_id, stream=True, starting_after=first.sequence_number)
            events = [first, *[each async for each in rest]]
            assert [each.sequence_number for each in events] == list(range(10))
            assert (await client.responses.retrieve(response_id)).output_text == ASKED["input"]
        assert len(fleet.jobs) == 1
