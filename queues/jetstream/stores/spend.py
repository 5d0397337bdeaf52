"""The book of spend: an account per UTC day for the fleet and for each tenant, in cells that all dispatchers share.

Keys are `<day>.fleet` and `<day>.tenant.<tenant>`. Every tenant has an account, limited or not: a limit that is set
at noon then counts what was spent in the morning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import date

from fleet.model.errors import QueueUnavailable
from fleet.model.money import Account, Claim, MoneyView, NanoUsd, Refusal, Reservation
from fleet.ports import Clock
from policies import money
from queues.jetstream.stores.cells import Cells
from queues.jetstream.stores.page import Page, record_of

CLOSE_SECONDS = 5.0
"""Seconds that a closing dispatcher waits for the broker to book what is settled."""

EPOCH = date(1970, 1, 1).toordinal()

OnBooked = Callable[[str | None, NanoUsd, NanoUsd], None]
"""A function called for every booking: the tenant (None: the fleet), and what was settled before and after it."""


class CellSpendBook:
    """Implements `fleet.ports.SpendBook` on cells. `open_seconds` is that of the rules."""

    def __init__(self, cells: Cells, clock: Clock, open_seconds: float, on_booked: OnBooked | None = None) -> None:
        self._cells = cells
        self._clock = clock
        self._open_seconds = open_seconds
        self._on_booked = on_booked
        self._pages: dict[tuple[int, str | None], Page] = {}
        self._day = 0
        self._seen = MoneyView()

    async def reserve(self, claims: Sequence[Claim]) -> Sequence[Reservation | Refusal]:
        now = self._clock.now()
        answers = await asyncio.gather(*(self._reserve(claim, now) for claim in claims), return_exceptions=True)
        reserved: list[Reservation | Refusal] = [each for each in answers if not isinstance(each, BaseException)]
        for error in answers:
            if isinstance(error, BaseException):
                self._give_back(reserved)
                raise error
        return reserved

    def _give_back(self, answers: Sequence[Reservation | Refusal]) -> None:
        for answer in answers:
            if isinstance(answer, Reservation):
                self.settle(answer, 0)

    async def _reserve(self, claim: Claim, now: float) -> Reservation | Refusal:
        """Reserve for the tenant first, so that one at its limit never disturbs the account that all share."""
        tenants, fleet = self._page(claim.tenant, now), self._page(None, now)
        of_tenant = await tenants.reserve(claim.amount, claim.tenant_limit, now)
        if isinstance(of_tenant, Refusal):
            return of_tenant
        try:
            of_fleet = await fleet.reserve(claim.amount, claim.fleet_limit, now)
        except (QueueUnavailable, asyncio.CancelledError):
            tenants.settle(claim.amount, 0, money.minute_of(now))
            raise
        if isinstance(of_fleet, Refusal):
            tenants.settle(claim.amount, 0, money.minute_of(now))
            return of_fleet
        return Reservation(claim.tenant, claim.amount, now)

    def settle(self, reservation: Reservation, cost: NanoUsd) -> None:
        for tenant in (reservation.tenant, None):
            page = self._page(tenant, reservation.at)
            page.settle(reservation.amount, cost, money.minute_of(reservation.at))

    def seen(self) -> MoneyView:
        return self._seen if self._day == money.day_of(self._clock.now()) else MoneyView()

    async def close(self) -> None:
        await asyncio.gather(*(page.close(CLOSE_SECONDS) for page in self._pages.values()))

    def _page(self, tenant: str | None, at: float) -> Page:
        day = money.day_of(at)
        page = self._pages.get((day, tenant))
        if page is None:
            self._turn_over()
            page = self._pages[day, tenant] = Page(
                key_of(day, tenant),
                self._cells,
                self._open_seconds,
                lambda account: self._note(day, tenant, account),
                lambda before, after: self._written(day, tenant, before, after),
            )
        return page

    def _turn_over(self) -> None:
        """Forget the pages of other days once nothing is owed on them."""
        today = money.day_of(self._clock.now())
        self._pages = {key: page for key, page in self._pages.items() if key[0] == today or not page.idle}

    def _written(self, day: int, tenant: str | None, before: Account, after: Account) -> None:
        self._note(day, tenant, after)
        if self._on_booked is not None and after.spent > before.spent:
            self._on_booked(tenant, before.spent, after.spent)

    def _note(self, day: int, tenant: str | None, account: Account) -> None:
        now = self._clock.now()
        if day != money.day_of(now):
            return
        seen = self.seen()
        self._day = day
        spent = money.spent(account, now, self._open_seconds)
        if tenant is None:
            self._seen = MoneyView(spent, seen.tenants)
        elif seen.tenants.get(tenant) != spent:
            self._seen = MoneyView(seen.fleet, {**seen.tenants, tenant: spent})


def key_of(day: int, tenant: str | None) -> str:
    scope = "fleet" if tenant is None else f"tenant.{tenant}"
    return f"{date.fromordinal(EPOCH + day).isoformat()}.{scope}"


async def accounts_of(cells: Cells, day: int) -> Mapping[str | None, Account]:
    """Return every account of the day by tenant; the fleet's is under None, and always there.

    Raises: QueueUnavailable if one cannot be read.
    """
    fleet = key_of(day, None)
    stored = [key for key in await cells.keys(fleet.rsplit(".", 1)[0]) if key != fleet]
    found = await asyncio.gather(*(cells.read(key) for key in (fleet, *stored)))
    tenants: list[str | None] = [None, *(key.rsplit(".", 1)[1] for key in stored)]
    return {tenant: record_of(cell).account for tenant, cell in zip(tenants, found, strict=True)}
