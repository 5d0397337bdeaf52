"""What a process does when it is told to end."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from fleet.signals import until_told_to_end, when_told_to_end

pytestmark = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


async def test_what_serves_ends_in_order_and_without_an_error(number: signal.Signals) -> None:
    steps = []
    with until_told_to_end():
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            steps.append("closed")
    assert steps == ["closed"]


async def test_what_works_is_called_once_for_each_signal(number: signal.Signals) -> None:
    told = asyncio.Queue[str]()
    when_told_to_end(lambda: told.put_nowait("replaced"))
    when_told_to_end(lambda: told.put_nowait("drain"))
    os.kill(os.getpid(), number)
    assert await told.get() == "drain"
    assert told.empty()
