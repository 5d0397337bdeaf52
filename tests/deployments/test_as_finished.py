from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from patience import PATIENCE_SECONDS

from deployments.replica.grouping import as_finished


async def at(gate: asyncio.Event, value: str) -> str:
    await gate.wait()
    return value


async def test_what_finishes_together_arrives_together_and_the_rest_later():
    first, second = asyncio.Event(), asyncio.Event()
    async with aclosing(as_finished([at(second, "slow"), at(first, "a"), at(first, "b")])) as groups:
        first.set()
        assert sorted(await anext(groups)) == [(1, "a"), (2, "b")]
        second.set()
        assert await anext(groups) == [(0, "slow")]
        with pytest.raises(StopAsyncIteration):
            await anext(groups)


async def test_nothing_to_do_is_no_group():
    assert [group async for group in as_finished([])] == []


async def test_closing_cancels_what_still_runs():
    never, done = asyncio.Event(), asyncio.Event()
    done.set()
    cancelled = asyncio.Event()

    async def endless() -> str:
        try:
            return await at(never, "")
        except asyncio.CancelledError:
            cancelled.set()
            raise

    groups = as_finished([at(done, "a"), endless()])
    assert await anext(groups) == [(0, "a")]
    await groups.aclose()
    await asyncio.wait_for(cancelled.wait(), PATIENCE_SECONDS)


async def test_an_error_is_not_swallowed():
    async def broken() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async for _ in as_finished([broken()]):
            pass
