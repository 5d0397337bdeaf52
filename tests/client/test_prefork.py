"""A client made before a fork works on both sides of it, on a real server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from memory_fleet import echo
from patience import PATIENCE_SECONDS
from queue_rigs import JetStreamRig, jetstream_rig

from fleet.model.delivery import Ack, JobsOf
from fleet.model.job import Job, Lane
from queues.server.embedded import EmbeddedServer

PREFORK = Path(__file__).with_name("prefork.py")


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """A server whose jobs are answered, except that one across the fork waits for the child's."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(EmbeddedServer(tmp_path))
        answering = asyncio.create_task(answer(await jetstream_rig(stack, server.url, ack_wait_seconds=30.0)))
        yield server.url
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)


async def answer(rig: JetStreamRig) -> None:
    held: list[Job] = []
    while True:
        for delivery in await rig.queue.take(JobsOf(Lane.STANDARD), 1, PATIENCE_SECONDS):
            assert isinstance(delivery.body, Job)
            held.append(delivery.body)
            await rig.queue.settle([Ack(delivery)])
            if delivery.body.id != "parent-across-the-fork":
                await rig.queue.publish([echo(job) for job in held])
                held.clear()


@pytest.mark.parametrize(
    ("moment", "answered"),
    [
        ("unused", {"child-after-the-fork", "parent-after-the-fork"}),
        ("unnoticed", {"parent-before-the-fork", "child-after-the-fork", "parent-after-the-fork"}),
        ("used", {"parent-before-the-fork", "child-after-the-fork", "parent-after-the-fork"}),
        (
            "waiting",
            {"parent-before-the-fork", "parent-across-the-fork", "child-after-the-fork", "parent-after-the-fork"},
        ),
    ],
)
async def test_a_client_made_before_a_fork_works_on_both_sides(url: str, moment: str, answered: set[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, PREFORK, url, moment, stdout=PIPE, stderr=PIPE, process_group=0
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)  # its child too
    assert (process.returncode, err.decode()) == (0, "")
    assert set(out.decode().split()) == answered
