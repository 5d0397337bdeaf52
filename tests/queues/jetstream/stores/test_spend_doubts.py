"""Writes that get lost, that are stored without a word, or that arrive late: the account is right in the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.model.errors import QueueUnavailable
from fleet.model.money import Account, Claim, Reservation
from queues.jetstream.stores import page
from queues.jetstream.stores.cells import Cell, MemoryCells
from queues.jetstream.stores.page import record_of
from queues.jetstream.stores.spend import CellSpendBook, key_of

NOW = 1_795_132_800.0
FLEET = key_of(int(NOW // 86_400), None)

FATES = ("stored", "refused", "lost", "unconfirmed", "late")
Fate = tuple[str, bool]
"""What becomes of a write, and whether the reading after it finds no broker."""


class Clock:
    def now(self) -> float:
        return NOW


class TroubledCells(MemoryCells):
    """As long as there are fates left, writes of the fleet's account meet them, one each."""

    def __init__(self, fates: Sequence[Fate]) -> None:
        super().__init__()
        self._fates = list(fates)
        self._late: list[tuple[bytes, int]] = []
        self._away = False

    async def read(self, key: str) -> Cell:
        if key == FLEET and self._away:
            self._away = False
            raise QueueUnavailable("away")
        return await super().read(key)

    async def write(self, key: str, value: bytes, revision: int) -> int | None:
        if key != FLEET or not self._fates:
            return await super().write(key, value, revision)
        fate, self._away = self._fates.pop(0)
        await self._deliver_late()
        match fate:
            case "stored":
                return await super().write(key, value, revision)
            case "refused":
                await self._others_write()
                return await super().write(key, value, revision)
            case "unconfirmed":
                await super().write(key, value, revision)
            case "late":
                self._late.append((value, revision))
        raise QueueUnavailable("no confirmation")

    async def _deliver_late(self) -> None:
        late, self._late = self._late, []
        for value, revision in late:
            await super().write(FLEET, value, revision)

    async def _others_write(self) -> None:
        cell = await super().read(FLEET)
        record = json.loads(cell.value or '{"spent": 0}')
        record["commits"] = {**record.get("commits", {}), "another": cell.revision}
        await super().write(FLEET, json.dumps(record).encode(), cell.revision)


@pytest.fixture(scope="module", autouse=True)
def _no_pauses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "OUTAGE_SECONDS", 0.0)
        patch.setattr(page, "MOST_BACKOFF_SECONDS", 0.0)
        yield


async def _call(book: CellSpendBook, reserved: int, actual: int) -> int:
    """Reserve and settle; a call whose money cannot be reserved is not made. What was really spent."""
    try:
        [answer] = await book.reserve([Claim("acme", reserved, 10**9)])
    except QueueUnavailable:
        return 0
    assert isinstance(answer, Reservation)
    book.settle(answer, actual)
    return actual


async def _spend(cells: TroubledCells, rounds: Sequence[Sequence[tuple[int, int]]]) -> int:
    """The calls of a round are made at the same time."""
    book = CellSpendBook(cells, Clock(), 600.0)
    spent = 0
    for calls in rounds:
        spent += sum(await asyncio.gather(*(_call(book, *call) for call in calls)))
    await book.close()
    return spent


@settings(max_examples=300)
@given(
    fates=st.lists(st.tuples(st.sampled_from(FATES), st.booleans()), max_size=12),
    rounds=st.lists(st.lists(st.tuples(st.integers(1, 100), st.integers(0, 100)), min_size=1, max_size=3), max_size=6),
)
def test_every_call_is_booked_once_and_nothing_stays_open_whatever_becomes_of_the_writes(fates, rounds):
    cells = TroubledCells(fates)

    async def run() -> tuple[int, Account]:
        spent = await _spend(cells, rounds)
        return spent, record_of(await MemoryCells.read(cells, FLEET)).account

    spent, account = asyncio.run(run())
    assert account == Account(spent, {})


async def test_without_a_broker_nothing_may_be_spent():
    book = CellSpendBook(TroubledCells([("lost", True)]), Clock(), 600.0)
    with pytest.raises(QueueUnavailable):
        await book.reserve([Claim("acme", 1, 10)])


async def test_an_account_that_cannot_be_read_is_not_overwritten():
    cells = MemoryCells()
    await cells.write(FLEET, b"not json", 0)
    with pytest.raises(QueueUnavailable):
        await CellSpendBook(cells, Clock(), 600.0).reserve([Claim("acme", 1, 10)])
    assert (await cells.read(FLEET)).value == b"not json"
