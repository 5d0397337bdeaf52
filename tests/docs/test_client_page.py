"""Every block of the client page runs as it stands: programs against a real broker, tests under pytest."""

from __future__ import annotations

import asyncio
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from memory_fleet import MemoryFleet
from queue_rigs import jetstream_rig

from queues.server.embedded import EmbeddedServer

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "client.md").read_text()
LOCAL_URL = "nats://127.0.0.1:4222"

BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PROGRAMS = [text for _, text in BLOCKS if "import pytest" not in text]
TESTS = [text for _, text in BLOCKS if "import pytest" in text]


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """A broker with something that answers each job with its prompt."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(EmbeddedServer(tmp_path))
        fleet = MemoryFleet()
        fleet.queue = (await jetstream_rig(stack, server.url, ack_wait_seconds=30.0)).queue  # type: ignore[assignment]
        await stack.enter_async_context(fleet.running())
        yield server.url


async def run(*arguments: str | Path) -> str:
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE, stderr=PIPE)
    printed, errors = await process.communicate()
    assert process.returncode == 0, printed.decode() + errors.decode()
    return printed.decode()


def test_every_block_is_python_and_is_run() -> None:
    assert {language for language, _ in BLOCKS} == {"python"}
    assert (len(PROGRAMS), len(TESTS)) == (3, 1)


@pytest.mark.parametrize("program", [text for text in PROGRAMS if LOCAL_URL in text])
async def test_a_program_gets_its_answers(program: str, url: str) -> None:
    printed = await run("-c", program.replace(LOCAL_URL, url))
    assert printed.startswith("succeeded")
    assert all(answer in printed for answer in re.findall(r"I love the new calendar\.|Great!|Never again\.", program))


async def test_the_others_run_without_a_broker() -> None:
    for program in PROGRAMS:
        if LOCAL_URL not in program:
            assert await run("-c", program) == ""


async def test_the_tests_pass_and_would_fail(tmp_path: Path) -> None:
    [tests] = TESTS
    path = tmp_path / "test_service.py"
    path.write_text(tests)
    assert "4 passed" in await run("-m", "pytest", "-p", "no:cacheprovider", "-q", "-c", "/dev/null", path)
    path.write_text(tests.replace('(Failed(), "unknown")', '(Failed(), "positive")'))
    with pytest.raises(AssertionError, match="1 failed, 3 passed"):
        await run("-m", "pytest", "-p", "no:cacheprovider", "-q", "-c", "/dev/null", path)
