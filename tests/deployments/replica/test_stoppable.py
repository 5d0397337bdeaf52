from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from deployments.replica.grouping import as_finished
from deployments.replica.stoppable import STOPPED, Stoppable
from fleet.model.attempt import Answer, Usage

ANSWER = Answer({"role": "assistant", "content": "Gern."}, "stop", Usage(1, 1), "llama-8b")


async def test_one_call_of_a_batch_is_stopped_and_its_neighbour_goes_on():
    begun, gate, aborted = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def answer() -> Answer:
        begun.set()
        try:
            await gate.wait()
        except asyncio.CancelledError:
            aborted.set()
            raise
        return ANSWER

    calls = Stoppable()
    work = [calls.run("acme.first", answer()), calls.run("acme.other", answer())]
    async with aclosing(as_finished(work)) as groups:
        coming = asyncio.ensure_future(anext(groups))
        await begun.wait()
        assert calls.stop(["acme.first", "acme.unheard-of"]) == 1
        assert await coming == [(0, STOPPED)]
        assert aborted.is_set()
        gate.set()
        assert await anext(groups) == [(1, ANSWER)]
    assert calls.stop(["acme.first", "acme.other"]) == 0


async def test_a_call_that_ends_for_another_reason_is_not_taken_for_stopped():
    calls = Stoppable()
    task = asyncio.create_task(calls.run("acme.first", asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
