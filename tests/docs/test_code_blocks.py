"""Every block of README and tutorial is run as a reader runs it, or, where that takes a fleet with engines, parsed.

The broker is real and the commands are processes of their own. What answers the jobs is scripted: it echoes the prompt.
The blocks that need engines are run by the end-to-end tests with the same commands.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from memory_fleet import MemoryFleet
from pages import PAGES, README, ROOT, Block, blocks, command_lines, name_of, parse
from queue_rigs import jetstream_rig
from typer._click.exceptions import UsageError

from fleet.app import apply_topology
from queues.server.embedded import EmbeddedServer

TUTORIAL = ROOT / "docs" / "tutorial"
RUN = (README, *sorted(TUTORIAL.glob("*.md")))
LOCAL_URL = "nats://127.0.0.1:4222"
NEEDS_ENGINES = ("make demo", "make up", ". .venv/bin/activate", "fleet scale")
"""How the lines begin that are parsed and not run."""

SHOWN = ("", "text")
"""Output and drawings."""


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[tuple[MemoryFleet, str]]:
    """Something that answers, and the address of its broker."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(EmbeddedServer(tmp_path / "nats"))
        rig = await jetstream_rig(stack, server.url, ack_wait_seconds=30.0)
        await apply_topology(server.url)
        answering = MemoryFleet()
        answering.queue = rig.queue
        yield await stack.enter_async_context(answering.running()), server.url


def script_of(block: Block, nats_url: str) -> list[str]:
    """The command that runs a block, without the lines that need engines."""
    if block.language == "python":
        assert LOCAL_URL in block.text
        return [sys.executable, "-c", block.text.replace(LOCAL_URL, nats_url)]
    return ["bash", "-euc", "\n".join(line for line in block.text.splitlines() if not line.startswith(NEEDS_ENGINES))]


async def run(block: Block, nats_url: str, folder: Path) -> str:
    """What the block printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
    process = await asyncio.create_subprocess_exec(
        *script_of(block, nats_url),
        cwd=folder,
        env=environment | {"PATH": path, "FLEET_NATS_URL": nats_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, errors = await process.communicate()
    assert process.returncode == 0, f"{block.name}: {errors.decode()}"
    return printed.decode()


@pytest.mark.e2e
@pytest.mark.parametrize("page", RUN, ids=name_of)
async def test_the_blocks_of_a_page_run_one_after_another(
    page: Path, fleet: tuple[MemoryFleet, str], tmp_path: Path
) -> None:
    answering, nats_url = fleet
    printed = [await run(block, nats_url, tmp_path) for block in blocks(page) if block.language in ("sh", "python")]
    prompts = "\n".join(str(job.request["messages"][-1]["content"]) for job in answering.jobs)
    assert all(name in prompts for name in ("Katapu", "Fene"))  # they stand in the prompts of both pages
    assert any("succeeded" in each for each in printed)


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_every_block_of_a_page_is_run_or_only_shows_output(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= {"sh", "python", *SHOWN}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_line_in_a_block_is_understood(page: Path) -> None:
    for block in blocks(page):
        if block.language in ("sh", "console"):
            for words in command_lines(block.text.replace("<target>", "llama-8b")):
                parse(words)


@pytest.mark.parametrize("line", ["make dmeo", "fleet bulk rum jobs.jsonl", "fleet bulk run jobs.jsonl --out x"])
def test_a_command_line_that_nobody_understands_is_noticed(line: str) -> None:
    with pytest.raises(UsageError):
        parse(shlex.split(line))


def test_the_node_program_of_the_wire_page_is_the_one_that_runs() -> None:
    [shown] = [block for block in blocks(ROOT / "docs" / "reference" / "wire.md") if block.language == "js"]
    assert (ROOT / "tests" / "e2e" / "node" / "client.mjs").read_text().endswith(shown.text)
