"""What a process does when it is told to end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from fleet.signals import cancelled_when_told_to_end, until_told_to_end, when_told_to_end

every_signal = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])


@pytest.fixture(autouse=True)
def _terminal_counts() -> Iterator[None]:
    """Have SIGHUP do what it usually does, whoever runs the tests under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@every_signal
async def test_what_serves_ends_in_order_and_without_an_error(number: signal.Signals) -> None:
    steps = []
    with until_told_to_end():
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            steps.append("closed")
    assert steps == ["closed"]


@every_signal
async def test_what_works_is_called_once_for_each_signal(number: signal.Signals) -> None:
    told = asyncio.Queue[str]()
    when_told_to_end(lambda: told.put_nowait("replaced"))
    when_told_to_end(lambda: told.put_nowait("drain"))
    os.kill(os.getpid(), number)
    assert await told.get() == "drain"
    assert told.empty()


@pytest.mark.proves(
    "A terminal that closes has `fleet up` finish the calls that run", how="stand-in", subject="One machine"
)
async def test_a_terminal_that_closes_says_so_twice_and_cuts_no_drain_short() -> None:
    told, steps = asyncio.Queue[str](), []

    async def serve() -> None:
        cancelled_when_told_to_end(again=lambda: told.put_nowait("again"))
        try:
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            steps.append(await told.get())  # told by SIGTERM, and the drain still runs

    with suppress(asyncio.CancelledError):
        await asyncio.create_task(serve())
    assert (steps, told.empty()) == (["again"], True)


async def test_what_was_started_to_outlive_its_terminal_does() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by nohup
    when_told_to_end(lambda: None)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
