"""Who waits for the work of a target: known without taking anything."""

from __future__ import annotations

import asyncio

from patience import PATIENCE_SECONDS, eventually

from fleet.model.delivery import WorkOf
from fleet.model.job import Lane


async def test_a_target_is_awaited_while_somebody_waits_for_its_work(rig):
    waiting = asyncio.create_task(rig.rival.take(WorkOf("llama-8b", Lane.BULK), 1, PATIENCE_SECONDS))
    found = await eventually(lambda: rig.queue.awaited(["llama-8b", "mixtral-8x7b"]))
    assert set(found) == {"llama-8b"}
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_taking_what_is_there_is_no_waiting(rig):
    assert not await rig.queue.take(WorkOf("llama-8b", Lane.BULK), 1, 0.0)
    assert not await rig.queue.awaited(["llama-8b"])
