"""Whoever makes a batch is killed at every step; who is given its calls next has each answered and paid once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from batch_bench import STARTED_AT, Bench, Steps, call

from fleet.model.attempt import Answer
from fleet.model.errors import QueueUnavailable
from fleet.providers.batches.sending import MAKING_SECONDS
from queues.jetstream.stores.cells import MemoryCells

CALLS = [call(number) for number in range(3)]


async def killed_after(bench: Bench, allowed: int) -> bool:
    """Run the calls in a process that dies after so many half-steps; return False if it came to an end before."""
    steps = Steps(allowed)
    batches = bench.batches(steps.of(bench.cells))
    batches._api = steps.of(batches._api)
    running = asyncio.create_task(bench.outcomes(CALLS, batches))
    dying = asyncio.create_task(steps.killed.wait())
    await asyncio.wait({running, dying}, return_when=asyncio.FIRST_COMPLETED)
    dying.cancel()
    if running.done():
        return False
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return True


async def test_a_process_that_dies_at_any_step_has_no_row_paid_twice(bench: Bench) -> None:
    allowed = 0
    while True:
        fresh = Bench(bench.server, bench.target, bench.keys)
        for each in (bench.server.batches, bench.server.charged, bench.server.files):
            each.clear()  # type: ignore[attr-defined]
        if not await killed_after(fresh, allowed):
            break
        found = await fresh.outcomes(CALLS)
        assert [type(each) for each in found] == [Answer] * 3, f"killed after {allowed} half-steps"
        assert set(bench.server.charged.values()) == {1}, f"killed after {allowed} half-steps"
        assert bench.server.charged.total() == 3
        allowed += 1
    assert allowed > 20


async def test_two_processes_that_are_given_the_same_calls_at_once_send_them_once(bench: Bench) -> None:
    found = await asyncio.gather(*(bench.outcomes(CALLS) for _ in range(3)))
    assert [[each.text for each in outcomes] for outcomes in found] == [[f"re: question {n}" for n in range(3)]] * 3
    assert set(bench.server.charged.values()) == {1}


@pytest.mark.parametrize("status", [500, 502, 408])
async def test_a_batch_that_was_made_although_its_making_failed_is_found_and_not_sent_again(
    bench: Bench, status: int
) -> None:
    bench.server.fail_after = {r"POST .*batches$": [status]}
    assert [type(each) for each in await bench.outcomes(CALLS)] == [Answer] * 3
    assert len(bench.server.batches) == 1 and set(bench.server.charged.values()) == {1}


async def test_a_batch_that_was_not_made_is_made_again_once_that_is_certain(bench: Bench) -> None:
    bench.server.fail = {r"POST .*batches$": [500]}
    assert [type(each) for each in await bench.outcomes(CALLS)] == [Answer] * 3
    assert bench.now - STARTED_AT >= MAKING_SECONDS  # until then it might have been on its way
    assert set(bench.server.charged.values()) == {1}


async def test_a_process_that_was_only_slow_cancels_the_batch_that_others_have_sent_in_its_place(bench: Bench) -> None:
    bench.server.polls = 3
    slow = bench.standing_still = bench.batches()
    resumed, held = asyncio.Event(), asyncio.Event()
    create = slow._api.create

    async def late(*given: Any) -> str:
        held.set()
        await resumed.wait()
        return await create(*given)

    slow._api.create = late  # type: ignore[method-assign]
    first = asyncio.create_task(bench.outcomes(CALLS, slow))
    await held.wait()
    bench.now += MAKING_SECONDS
    others = await bench.outcomes(CALLS)
    resumed.set()
    assert [each.text for each in await first] == [each.text for each in others]
    assert [each.cancelled for each in bench.server.batches.values()] == [False, True]


async def test_without_the_broker_once_it_is_made_the_batch_is_waited_for_and_found_by_others(bench: Bench) -> None:
    writes = 0

    class Forgetful(MemoryCells):
        async def write(self, key: str, value: bytes, revision: int) -> int | None:
            nonlocal writes
            writes += b"made" in value
            if b"made" in value and writes == 1:
                raise QueueUnavailable("away")
            return await super().write(key, value, revision)

    bench.cells = Forgetful()
    assert [type(each) for each in await bench.outcomes(CALLS)] == [Answer] * 3
    assert [type(each) for each in await bench.outcomes(CALLS)] == [Answer] * 3
    assert set(bench.server.charged.values()) == {1}


async def test_a_process_whose_record_took_long_makes_no_batch(bench: Bench) -> None:
    class Slow(MemoryCells):
        async def write(self, key: str, value: bytes, revision: int) -> int | None:
            bench.now += 40.0
            return await super().write(key, value, revision)

    assert await bench.batches(Slow()).send([(each, None) for each in CALLS]) == [False] * 3
    assert not bench.server.asked
