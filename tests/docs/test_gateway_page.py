"""Every block of docs/how-to/gateway.md runs as it stands: a gateway process, a real broker, unmodified clients."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from pathlib import Path

import pytest
import ray
import yaml
from memory_fleet import MemoryFleet
from node_programs import OPENAI, run_node
from pages import ROOT, blocks
from queue_rigs import jetstream_rig
from ray.serve.schema import ServeApplicationSchema

from deployments.app import build_gateway
from deployments.serve.declared import GATEWAY
from fleet.app import apply_topology
from fleet.gateway.jobs.terms import TermsHeaders
from queues.server.embedded import EmbeddedServer

PAGE = ROOT / "docs" / "how-to" / "gateway.md"
SHOWN_URL = "http://127.0.0.1:8280"
BLOCKS = blocks(PAGE)
[COMMAND] = [block.text for block in BLOCKS if block.language == "sh"]
[APPLICATION] = [yaml.safe_load(block.text) for block in BLOCKS if block.language == "yaml"]
PROGRAMS = [block.text for block in BLOCKS if block.language == "python"]
[NODE] = [block.text for block in BLOCKS if block.language == "js"]


@asynccontextmanager
async def process(*words: str | Path, **variables: str) -> AsyncIterator[Process]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
    told = plain | {"PYTHONPATH": str(ROOT), **variables}
    running = await asyncio.create_subprocess_exec(*words, env=told, stdout=PIPE, stderr=PIPE)
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
            await running.communicate()


async def printed_by(*words: str | Path) -> str:
    async with process(*words) as running:
        printed, errors = await running.communicate()
    assert running.returncode == 0, printed.decode() + errors.decode()
    return printed.decode()


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """A gateway, started as the page says, to a broker whose jobs are answered with their prompts."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(EmbeddedServer(tmp_path / "nats"))
        rig = await jetstream_rig(stack, server.url, ack_wait_seconds=30.0)
        await apply_topology(server.url)
        fleet = MemoryFleet()
        fleet.queue = rig.queue
        await stack.enter_async_context(fleet.running())
        [program, *words] = shlex.split(COMMAND)
        assert program == "fleet"
        command = (sys.executable, "-m", "fleet.cli", *words)
        settings = {"FLEET_NATS_URL": server.url, "FLEET_GATEWAY_PORT": "0", "FLEET_METRICS_PORT": "0"}
        running = await stack.enter_async_context(process(*command, **settings))
        assert running.stdout is not None and running.stderr is not None
        line = (await running.stdout.readline()).decode()
        assert line.startswith("gateway "), (await running.stderr.read()).decode()
        yield line.split()[1].removesuffix("/v1")


async def test_every_program_gets_its_answer(url: str) -> None:
    chat, streamed, background = [
        await printed_by(sys.executable, "-c", each.replace(SHOWN_URL, url)) for each in PROGRAMS
    ]
    assert chat.splitlines() == ["I love the new calendar.", "llama-8b 0.9 0.0"]
    assert streamed.splitlines() == ["I love the new calendar.", "10 tokens"]
    begun, ended, *events = background.splitlines()
    assert re.fullmatch(r"resp_[0-9a-f]{32} queued", begun)
    assert ended == "completed I love the new calendar."
    assert events[0] == "2 response.in_progress" and events[-1] == "9 response.completed"


@pytest.mark.e2e
async def test_the_node_program_gets_its_answers(url: str, tmp_path: Path) -> None:
    printed = await run_node(tmp_path, NODE.replace(SHOWN_URL, url), OPENAI)
    assert printed.splitlines() == ["I love the new calendar.", "Never again."]


def test_every_block_is_run() -> None:
    """What the unit of the gateway makes of `ini`: tests/deployments/test_units.py."""
    assert [block.language for block in BLOCKS] == ["sh", "python", "python", "python", "js", "ini", "yaml"]


def test_the_application_of_the_page_builds_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get_runtime_context", lambda: type("Context", (), {"runtime_env": {}}))
    declared = ServeApplicationSchema.model_validate(APPLICATION[0])
    module, _, name = declared.import_path.partition(":")
    assert getattr(import_module(module), name) is build_gateway
    deployment = build_gateway(declared.args)._bound_deployment
    assert deployment.name == GATEWAY == declared.name
    assert deployment.num_replicas == declared.args["replicas"]
    factory = declared.args["factory"]
    assert callable(getattr(import_module(factory.partition(":")[0]), factory.partition(":")[2]))


def test_the_page_names_every_header() -> None:
    page = PAGE.read_text()
    headers = {name.replace("_", "-") for name in TermsHeaders.model_fields}
    assert not [name for name in headers if f"`{name}`" not in page]
