"""Gets what the pages show: the broker and Ray Serve, the ledger's database, and Prometheus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from threading import Lock
from typing import Protocol, TypeVar

from fleet.app import InForce, Seen, Watch
from fleet.console.alerts import Alerts, read_alerts
from fleet.console.shared import Shared
from fleet.ledger.database import check_migrated, database_url, engine_for
from fleet.ledger.reading import EndedFilter, EndedJob, LedgerReader, LedgerState, Sums
from fleet.ledger.rows import day_of
from fleet.model.result import Kept, LedgerEntry
from fleet.settings.environment import Settings
from policies.rules.catalogue import Catalogue

Value = TypeVar("Value")

KEPT_DAYS = 40
"""Days whose sums are kept in memory: those that pages show, and some."""

KEPT_SECONDS = 600.0
"""Seconds until the sums of all days are read again: an erasure renames a tenant in days that are long over."""


class LedgerPages(Protocol):
    """Queries of the ledger's database. Every method blocks, and raises LedgerUnavailable."""

    def job(self, tenant: str | None, job_id: str) -> Sequence[LedgerEntry]: ...

    def ended(self, wanted: EndedFilter, before_seq: int | None = None, limit: int = 100) -> Sequence[EndedJob]: ...

    def attempt_sums(self, group_by: Sequence[str], since: str, until: str) -> Sequence[Sums]: ...

    def state(self) -> LedgerState: ...


@dataclass(frozen=True, slots=True)
class Today:
    """Today's sums by target and status, and the number of the last line that the database has."""

    sums: Sequence[Sums]
    last_seq: int


class DaySums:
    """Sums over days, each read once in a while: a day hardly changes any more when a later one has a line.

    A page of thirty days then costs what today does. Its methods block, and are called by one thread at a time.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._emptied_at = monotonic()
        self._kept: dict[tuple[str, ...], dict[str, Sequence[Sums]]] = {}
        self._lock = Lock()

    def between(self, books: LedgerPages, group: Sequence[str], since: str, until: str) -> Sequence[Sums]:
        """Return the sums by day and `group` of the days from `since` to `until`, both included."""
        with self._lock:
            if self._monotonic() - self._emptied_at > KEPT_SECONDS:
                self._kept.clear()
                self._emptied_at = self._monotonic()
            kept = self._kept.setdefault(tuple(group), {})
            days = _days(since, until)
            open_since = day_of(books.state().last_at)
            missing = [day for day in days if day not in kept or day >= open_since]
            found: dict[str, list[Sums]] = {day: [] for day in missing}
            for each in books.attempt_sums(("day", *group), missing[0], missing[-1]) if missing else ():
                found.setdefault(each.group["day"], []).append(each)
            kept.update(found)
            for day in [day for day in kept if day < _first_kept(until)]:
                del kept[day]
            return [each for day in days for each in kept[day]]


def _days(since: str, until: str) -> list[str]:
    first, last = date.fromisoformat(since), date.fromisoformat(until)
    return [(first + timedelta(number)).isoformat() for number in range((last - first).days + 1)]


def _first_kept(until: str) -> str:
    return (date.fromisoformat(until) - timedelta(KEPT_DAYS)).isoformat()


class Sources:
    """The sources that all pages share. `books` opens the database; `alerts` is None where no Prometheus is named."""

    def __init__(
        self,
        catalogue: Catalogue,
        look: Callable[[], Awaitable[Seen]],
        in_force: Callable[[], Awaitable[InForce]],
        letters: Callable[[int, int | None], Awaitable[Sequence[Kept]]],
        books: Callable[[], LedgerPages],
        alerts: Callable[[], Awaitable[Alerts]] | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.catalogue = catalogue
        self.letters = letters
        self.wall = wall
        self.is_alerted = alerts is not None
        self.day_sums = DaySums(monotonic)
        self._books = books
        self.seen = Shared("fleet", look, 2.0, monotonic)
        self.in_force = Shared("calibrations", in_force, 30.0, monotonic)
        self.today = Shared("today", self._read_today, 5.0, monotonic)
        self.last_letters = Shared("dead letters", lambda: letters(1, None), 10.0, monotonic)
        self.alerts = Shared("alerts", alerts or _no_alerts, 10.0, monotonic)

    async def ask(self, question: Callable[[LedgerPages], Value]) -> Value:
        """Return what the database answers, asked in another thread. Raises: LedgerUnavailable."""
        return await asyncio.to_thread(lambda: question(self._books()))

    def day(self, ago: int = 0) -> str:
        """Return today's UTC day as YYYY-MM-DD, or that of some days `ago`."""
        return day_of(self.wall() - 86_400 * ago)

    async def close(self) -> None:
        for each in (self.seen, self.in_force, self.today, self.last_letters, self.alerts):
            await each.close()

    async def _read_today(self) -> Today:
        day = self.day()
        return await self.ask(
            lambda books: Today(books.attempt_sums(("target", "status"), day, day), books.state().last_seq)
        )


async def _no_alerts() -> Alerts:
    return Alerts((), ())


@asynccontextmanager
async def sources_of(settings: Settings) -> AsyncIterator[Sources]:
    """Provide the sources that the settings name; each is opened when it is first asked.

    Raises: ConfigError if a setting or file cannot be used.
    """
    watch = Watch(settings)
    engine = engine_for(database_url(settings.ledger_address))

    # errors are not kept: the writer may make the tables later
    @cache  # an error is not kept: the writer may make the tables later
    def books() -> LedgerReader:
        check_migrated(engine)
        return LedgerReader(engine)

    url = settings.prometheus_url
    alerts = None if url is None else lambda: read_alerts(url)
    sources = Sources(watch.rules.catalogue, watch.look, watch.in_force, watch.dead_letters, books, alerts)
    try:
        yield sources
    finally:
        await sources.close()
        await watch.close()
        engine.dispose()
