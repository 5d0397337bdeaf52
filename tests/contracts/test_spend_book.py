"""What every book of spend does, whatever keeps it: no limit is passed, and nothing blocks that fits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from patience import PATIENCE_SECONDS

from fleet.model.money import Account, Claim, MoneyView, Refusal, Reservation
from queues.jetstream.client.connection import connect
from queues.jetstream.stores import spend
from queues.jetstream.stores.cells import Cell, Cells, JetStreamCells, MemoryCells
from queues.jetstream.stores.page import record_of
from queues.jetstream.stores.spend import CellSpendBook, accounts_of
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply
from queues.server.embedded import EmbeddedServer

START = 1_795_132_800.0 + 3_600
"""An hour into a UTC day."""

DAY = int(START // 86_400)
OPEN_SECONDS = 600.0
BUSY, EMPTY = Refusal.BUSY, Refusal.EMPTY


@dataclass
class Rig:
    """Cells with nothing in them, a clock, and books that share both."""

    connect: Callable[[], Awaitable[Cells]]
    time: float = START
    booked: list[tuple[str | None, int, int]] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    async def book(self) -> CellSpendBook:
        cells = await self.connect()
        return CellSpendBook(cells, self, OPEN_SECONDS, lambda *booking: self.booked.append(booking))

    async def account(self, tenant: str | None = None, day: int = DAY) -> Account:
        return (await accounts_of(await self.connect(), day)).get(tenant, Account())


@pytest.fixture(params=["memory", "jetstream"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            cells = MemoryCells()

            async def shared() -> Cells:
                return cells

            yield Rig(shared)
            return
        server: EmbeddedServer = request.getfixturevalue("nats_server")
        connections = [await connect(server.url) for _ in range(2)]
        for connection in connections:
            stack.push_async_callback(connection.close)
        js = connections[0].nats.jetstream()
        await apply(js, TopologySpec())
        await js.purge_stream("KV_spend")
        uses = iter(range(1_000_000))

        async def one_of_two() -> Cells:
            return JetStreamCells(connections[next(uses) % 2])

        yield Rig(one_of_two)


def claim(nano: int, fleet_limit: int = 1_000, tenant: str = "acme", tenant_limit: int | None = None) -> Claim:
    return Claim(tenant, nano, fleet_limit, tenant_limit)


async def granted(book: CellSpendBook, *claims: Claim) -> Sequence[Reservation]:
    answers = await book.reserve(claims)
    reservations = [answer for answer in answers if isinstance(answer, Reservation)]
    assert len(reservations) == len(claims)
    return reservations


async def test_money_is_open_until_it_is_settled_with_what_it_came_to(rig: Rig) -> None:
    book = await rig.book()
    [reservation] = await granted(book, claim(100))
    assert await rig.account() == Account(0, {int(START // 60): 100})

    book.settle(reservation, 30)
    await book.close()

    assert await rig.account() == await rig.account("acme") == Account(30, {})


async def test_more_than_reserved_is_booked_all_the_same(rig: Rig) -> None:
    book = await rig.book()
    [reservation] = await granted(book, claim(100))
    book.settle(reservation, 170)
    await book.close()
    assert await rig.account() == Account(170, {})


async def test_open_money_makes_others_wait_and_spent_money_refuses_them(rig: Rig) -> None:
    book, other = await rig.book(), await rig.book()
    [reservation] = await granted(book, claim(700))
    assert await other.reserve([claim(400)]) == [BUSY]

    book.settle(reservation, 700)
    await book.close()

    assert await other.reserve([claim(400), claim(300)]) == [EMPTY, Reservation("acme", 300, START)]


async def test_what_was_settled_below_its_reservation_is_there_for_others(rig: Rig) -> None:
    book, other = await rig.book(), await rig.book()
    [reservation] = await granted(book, claim(1_000))
    assert await other.reserve([claim(1)]) == [BUSY]
    book.settle(reservation, 1)
    await book.close()
    await granted(other, claim(999))


async def test_a_tenants_limit_binds_that_tenant_alone(rig: Rig) -> None:
    book = await rig.book()
    [reservation, _] = await granted(book, claim(50, tenant_limit=60), claim(20, tenant="beta"))
    assert await book.reserve([claim(20, tenant_limit=60)]) == [BUSY]
    book.settle(reservation, 50)
    await book.close()
    assert await book.reserve([claim(20, tenant_limit=60)]) == [EMPTY]
    assert await rig.account("beta") == Account(0, {int(START // 60): 20})


async def test_what_the_fleet_refuses_is_not_kept_from_the_tenant(rig: Rig) -> None:
    book = await rig.book()
    assert await book.reserve([claim(2_000, tenant_limit=5_000)]) == [EMPTY]
    await book.close()
    assert await rig.account("acme") == Account(0, {})
    await granted(book, claim(1_000, tenant_limit=1_000))


async def test_what_a_dead_dispatcher_left_open_counts_as_spent_after_a_while(rig: Rig) -> None:
    dead, heir = await rig.book(), await rig.book()
    await granted(dead, claim(900))
    assert await heir.reserve([claim(200)]) == [BUSY]
    rig.time += OPEN_SECONDS + 60
    assert await heir.reserve([claim(200)]) == [EMPTY]
    assert heir.seen().fleet == 900


async def test_a_new_day_starts_with_nothing_spent_and_yesterdays_calls_are_booked_on_yesterday(rig: Rig) -> None:
    book = await rig.book()
    rig.time = (DAY + 1) * 86_400 - 1.0
    [late] = await granted(book, claim(1_000))
    rig.time += 2.0
    assert book.seen() == MoneyView()
    [early] = await granted(book, claim(1_000))
    book.settle(late, 400)
    book.settle(early, 500)
    await book.close()
    assert [(await rig.account(day=day)).spent for day in (DAY, DAY + 1)] == [400, 500]
    assert book.seen() == MoneyView(500, {"acme": 500})


async def test_what_others_spent_is_seen_at_the_next_look(rig: Rig) -> None:
    book, other = await rig.book(), await rig.book()
    [reservation] = await granted(book, claim(600))
    book.settle(reservation, 600)
    await book.close()
    assert book.seen() == MoneyView(600, {"acme": 600})
    assert other.seen() == MoneyView()
    assert await other.reserve([claim(500)]) == [EMPTY]
    assert other.seen().fleet == 600


async def test_each_amount_is_passed_by_exactly_one_booking(rig: Rig) -> None:
    books = [await rig.book() for _ in range(8)]
    reservations = await asyncio.gather(*(granted(book, claim(10)) for book in books))
    for book, [reservation] in zip(books, reservations, strict=True):
        book.settle(reservation, 10)
    await asyncio.gather(*(book.close() for book in books))
    steps = sorted((before, after) for tenant, before, after in rig.booked if tenant is None)
    assert (steps[0][0], steps[-1][1]) == (0, 80)
    assert [after for _, after in steps[:-1]] == [before for before, _ in steps[1:]]


class Watched:
    """Cells that remember every account the fleet ever had in them."""

    def __init__(self, cells: Cells, accounts: list[int]) -> None:
        self._cells = cells
        self._totals = accounts
        self.read, self.keys = cells.read, cells.keys

    async def write(self, key: str, value: bytes, revision: int) -> int | None:
        written = await self._cells.write(key, value, revision)
        if written is not None and key.endswith(".fleet"):
            account = record_of(Cell(value, written)).account
            self._totals.append(account.spent + sum(account.open.values()))
        return written


async def spend_until_empty(book: CellSpendBook, most: int, costs: Sequence[int], limit: int) -> tuple[int, int]:
    """One call per cost, as a dispatcher makes them: BUSY is waited out. What was spent, and how often it was EMPTY."""
    spent = refused = 0
    for cost in costs:
        answer: Reservation | Refusal = BUSY
        while answer is BUSY:
            [answer] = await book.reserve([claim(most, limit)])
        if isinstance(answer, Reservation):
            book.settle(answer, cost)
            spent += cost
        else:
            refused += 1
    await book.close()
    return spent, refused


@pytest.mark.parametrize(
    ("most", "cost", "limit", "empty"),
    [(100, 100, 20_000, True), (1_000, 40, 64 * 5 * 40 + 960, False)],
    ids=["more is asked for than there is", "it all fits, though not all at once"],
)
async def test_64_writers_never_pass_the_limit_and_nobody_is_refused_what_fits(
    rig: Rig, most: int, cost: int, limit: int, empty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever goes before its last call is booked leaves that money reserved, and the others wait for it.
    monkeypatch.setattr(spend, "CLOSE_SECONDS", PATIENCE_SECONDS)
    totals: list[int] = []
    plain = rig.connect

    async def watched() -> Cells:
        return Watched(await plain(), totals)

    rig.connect = watched
    books = [await rig.book() for _ in range(64)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        ends = await asyncio.gather(*(spend_until_empty(book, most, [cost] * 5, limit) for book in books))

    assert max(totals) <= limit
    assert (sum(refused for _, refused in ends) > 0) == empty
    account = await rig.account()
    assert account == Account(sum(spent for spent, _ in ends), {})
    assert account.spent == (limit if empty else 64 * 5 * cost)
