"""A dispatcher learns how long a target takes to start from the replicas that it reads anyway."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from fleet.dispatch.state.starts import READ_SECONDS, LearnedCapacities
from fleet.model.errors import QueueUnavailable
from fleet.model.scaling import Capacity, ColdStart, ObservedStart
from fleet.settings.documents import load_rules
from queues.jetstream.cold_starts import CellColdStarts
from queues.jetstream.stores.cells import MemoryCells

RULES = load_rules(None, None, "local")
TARGET = "llama-8b"
NOW = 1_000.0
COLD, STARTING, WARM = Capacity(0), Capacity(0, 1), Capacity(1)
GUESS = 60.0


class Watched:
    """Serve and the clock of one dispatcher, whose readings are made one by one."""

    def __init__(self, cells: MemoryCells) -> None:
        self.seconds = 0.0
        self.found = COLD
        self.learned = LearnedCapacities(self, CellColdStarts(cells), RULES.catalogue, self, lambda: self.seconds)
        self.asked = False

    def now(self) -> float:
        return NOW + self.seconds

    async def read(self) -> Mapping[str, Capacity]:
        return {TARGET: self.found, "somebody-elses": self.found}

    async def at(self, seconds: float, found: Capacity) -> ColdStart | None:
        self.seconds, self.found = seconds, found
        read = await self.learned.read()
        assert read["somebody-elses"] == found
        return read[TARGET].cold_start


async def test_a_start_is_learned_and_another_dispatcher_knows_it_too() -> None:
    cells = MemoryCells()
    one, other = Watched(cells), Watched(cells)
    assert await one.at(0, COLD) == ColdStart(GUESS, 0)
    await other.at(0, WARM)
    await one.at(2, STARTING)
    assert await one.at(92, STARTING) == ColdStart(GUESS, 0)
    assert await one.at(242, WARM) == ColdStart(pytest.approx(120.0), 1)  # between 60 and 240, by factors
    assert await other.at(READ_SECONDS + 200, WARM) == ColdStart(pytest.approx(120.0), 1)


@pytest.mark.proves("Dispatchers that see the same start of an engine count it once", how="stand-in", subject="Ray")
async def test_a_start_that_two_dispatchers_see_is_one() -> None:
    cells = MemoryCells()
    watching = [Watched(cells), Watched(cells)]
    for seconds, found in ((0, COLD), (2, STARTING), (62, WARM)):
        await asyncio.gather(*(each.at(seconds, found) for each in watching))
    assert await CellColdStarts(cells).read() == {TARGET: [ObservedStart(60.0, NOW + 62)]}


@pytest.mark.parametrize(
    "readings",
    [
        ((0, STARTING), (90, WARM)),  # the beginning was not seen
        ((0, COLD), (2, WARM)),  # nor was this one's, and it is over at once
        ((0, WARM), (2, Capacity(1, 1)), (90, Capacity(2))),  # no start from zero
        ((0, COLD), (2, STARTING), (50, COLD), (90, WARM)),  # given up, and then there: nobody knows since when
    ],
)
async def test_what_is_no_whole_start_teaches_nothing(readings: tuple[tuple[float, Capacity], ...]) -> None:
    cells = MemoryCells()
    watched = Watched(cells)
    for seconds, found in readings:
        start = await watched.at(seconds, found)
    assert start == ColdStart(GUESS, 0) and await CellColdStarts(cells).read() == {}


async def test_where_the_broker_is_away_the_readings_go_on_by_what_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(MemoryCells())
    await watched.at(0, COLD)

    async def away(*_: object) -> None:
        raise QueueUnavailable("away")

    monkeypatch.setattr(MemoryCells, "keys", away)
    monkeypatch.setattr(MemoryCells, "read", away)
    await watched.at(2, STARTING)
    assert await watched.at(200, WARM) == ColdStart(GUESS, 0)


async def test_what_a_stranger_wrote_counts_as_nothing() -> None:
    cells = MemoryCells()
    await cells.write(f"cold.{TARGET}", b'[["soon", -1]]', 0)
    book = CellColdStarts(cells)
    assert await book.read() == {TARGET: ()}
    assert await book.add(TARGET, ObservedStart(5.0, NOW)) == (ObservedStart(5.0, NOW),)
