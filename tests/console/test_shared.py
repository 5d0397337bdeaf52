"""A reading that all visitors share."""

from __future__ import annotations

import asyncio

import pytest

from fleet.console import shared
from fleet.console.shared import Reading, Shared
from fleet.model.errors import QueueUnavailable


class Source:
    """Gives 1, 2, 3 …; waits while it is held, and raises what it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reads = 0
        self.error: Exception | None = None
        self.free = asyncio.Event()
        self.free.set()

    async def read(self) -> int:
        self.reads += 1
        number = self.reads
        await self.free.wait()
        if self.error is not None:
            raise self.error
        return number


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def reading(source: Source) -> Shared[int]:
    return Shared("numbers", source.read, 2.0, lambda: source.now)


async def test_many_visitors_cost_one_reading(source, reading):
    source.free.clear()
    asked = [asyncio.create_task(reading.latest()) for _ in range(50)]
    await asyncio.sleep(0)
    source.free.set()
    assert [each.value for each in await asyncio.gather(*asked)] == [1] * 50
    assert (await reading.latest()).value == 1
    assert source.reads == 1


async def test_an_old_value_is_given_at_once_while_the_next_is_read(source, reading):
    await reading.latest()
    source.now = 5.0
    source.free.clear()
    assert (await reading.latest()).value == 1
    source.free.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (await reading.latest()).value == 2


async def test_after_a_night_without_visitors_the_first_one_waits_for_the_present(source, reading):
    await reading.latest()
    source.now = 28_800.0
    assert (await reading.latest()).value == 2


async def test_a_source_that_hangs_costs_a_visitor_no_more_than_the_patience(source, reading, monkeypatch):
    monkeypatch.setattr(shared, "PATIENCE_SECONDS", 0.01)
    source.free.clear()
    assert await reading.latest() == Reading(None, None)
    await reading.close()


async def test_what_failed_leaves_the_last_value_and_says_why(source, reading):
    await reading.latest()
    source.now, source.error = 100.0, QueueUnavailable("nobody listens")
    assert await reading.latest() == Reading(1, "nobody listens")
    source.now, source.error = 200.0, None
    assert await reading.latest() == Reading(3, None)


async def test_a_bug_of_a_source_takes_no_page_down_and_tells_no_visitor_its_words(source, reading):
    source.error = KeyError("a secret")
    found = await reading.latest()
    assert found.value is None and found.trouble is not None and "secret" not in found.trouble


async def test_nothing_is_read_while_nobody_looks(source, reading):
    await reading.latest()
    source.now = 1_000_000.0
    await asyncio.sleep(0)
    assert source.reads == 1
