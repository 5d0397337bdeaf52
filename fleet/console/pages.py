"""The pages: each turns a question into the values that its template prints. None changes anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any
from urllib.parse import urlencode

from fleet.console import attention, present, waterfall
from fleet.console.rendering import job_path
from fleet.console.sources import DaySums, LedgerPages, Sources
from fleet.ledger.reading import EndedFilter, EndedJob, Sums
from fleet.model.errors import FleetError, LedgerUnavailable, QueueUnavailable
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Kept, Status

JOBS_PER_PAGE = 50
LETTERS_PER_PAGE = 25
PERIODS = (1, 7, 30)
MOST_ROWS = 20
"""Rows of a table of money; the rest is one row."""

MAX_DIGITS = 18

Query = Mapping[str, str]


class NoSuchPage(FleetError):
    """Raised where an address has no page."""


class Elsewhere(Exception):
    """Raised where the page is at another address of the console."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


@dataclass(frozen=True, slots=True)
class ConsolePage:
    """A page's title and section, the template of its content, and what that prints.

    `controls` is the template of what stands above the content and is not replaced. A live page is made again every
    `seconds`; None: it stays as it is.
    """

    title: str
    section: str
    content: str
    values: Mapping[str, Any]
    controls: str | None = None
    seconds: float | None = None


Maker = Callable[[Sources, Query], Awaitable[ConsolePage]]


async def now(sources: Sources, _: Query) -> ConsolePage:
    reading, alerts, in_force, today, letters = await asyncio.gather(
        sources.seen.latest(),
        sources.alerts.latest(),
        sources.in_force.latest(),
        sources.today.latest(),
        sources.last_letters.latest(),
    )
    seen = reading.value
    if seen is None:
        return _message("Now", reading.trouble or "The fleet is being looked at. This takes a moment.", seconds=2.0)
    ledger_behind = present.behind(seen, today.value)
    sums = today.value.sums if today.value else ()
    last_letter = letters.value[0].letter if letters.value else None
    told = (alerts.value, in_force.value, ledger_behind, sums, last_letter)
    notices = attention.notices(seen, sources.catalogue, *told)
    values = present.now(seen, today.value)
    return ConsolePage(
        "Now",
        "Now",
        "now.html",
        {"seen": seen, "notices": notices, "books_trouble": today.trouble, **values},
        seconds=2.0,
    )


async def jobs(sources: Sources, query: Query) -> ConsolePage:
    """Raises: Elsewhere if one job is asked for by its id; NoSuchPage if a part of the question is none."""
    if wanted_id := query.get("id", "").strip():
        return await _by_id(sources, wanted_id)
    chosen = {field.name: query.get(field.name, "").strip() for field in fields(EndedFilter)}
    before = _sequence(query)
    found: Sequence[EndedJob] = ()
    trouble = None
    try:
        wanted = EndedFilter(**{name: value or None for name, value in chosen.items()})
        found = await sources.ask(lambda books: books.ended(wanted, before, JOBS_PER_PAGE + 1))
    except LedgerUnavailable as error:
        trouble = str(error)
    kept = {name: value for name, value in chosen.items() if value}
    shown = found[:JOBS_PER_PAGE]
    values = {
        "jobs": [_job_row(each) for each in shown],
        "books_trouble": trouble,
        "chosen": chosen,
        "choices": _choices(sources, chosen),
        "is_filtered": bool(kept),
        "is_older": before is not None,
        "newest": _link("/jobs", kept),
        "older": _link("/jobs", {**kept, "before": str(shown[-1].seq)}) if len(found) > len(shown) else None,
    }
    return ConsolePage("Jobs", "Jobs", "jobs.html", values, "jobs_controls.html", 5.0 if before is None else None)


def _job_row(each: EndedJob) -> dict[str, Any]:
    took = None if each.submitted_at is None else each.at - each.submitted_at
    row = {name: getattr(each, name) for name in ("at", "tenant", "job_id", "lane", "task", "status", "target")}
    return {**row, "reason": each.reason or "", "seconds": took}


def _choices(sources: Sources, chosen: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Return what each menu offers; a value that is asked for and not offered stands at its end."""
    offered: dict[str, list[str]] = {
        "status": [each.value for each in Status],
        "target": sorted(sources.catalogue.targets),
        "reason": sorted(each.value for each in Reason),
        "lane": [each.value for each in Lane],
    }
    return [
        (name, words if not chosen[name] or chosen[name] in words else [*words, chosen[name]])
        for name, words in offered.items()
    ]


async def _by_id(sources: Sources, job_id: str) -> ConsolePage:
    """Raises: Elsewhere if there is one such job."""
    try:
        entries = await sources.ask(lambda books: books.job(None, job_id))
    except LedgerUnavailable as error:
        return _message("Jobs", str(error))
    tenants = sorted({entry.tenant for entry in entries})
    if len(tenants) == 1:
        raise Elsewhere(job_path(tenants[0], job_id))
    if not tenants:
        return _message("Jobs", f"The ledger has no job {job_id}. One that has just ended may take a moment.")
    links = [(job_path(tenant, job_id), tenant) for tenant in tenants]
    return _message("Jobs", f"Several tenants have a job {job_id}.", links=links)


async def job(sources: Sources, query: Query) -> ConsolePage:
    """Raises: NoSuchPage if the ledger does not know the job."""
    tenant, job_id = query["tenant"], query["job_id"]
    try:
        entries = await sources.ask(lambda books: books.job(tenant, job_id))
    except LedgerUnavailable as error:
        return _message("Jobs", str(error))
    if not entries:
        raise NoSuchPage(f"The ledger has no job {job_id} of {tenant}: it has not run yet, or was erased.")
    found = present.job(entries)
    values = {"job": found, "books_trouble": None, **waterfall.of(entries)}
    return ConsolePage(job_id, "Jobs", "job.html", values, seconds=None if found["status"] else 5.0)


async def money(sources: Sources, query: Query) -> ConsolePage:
    """Raises: NoSuchPage if the days asked for are none of the choices."""
    days = next((each for each in PERIODS if query.get("days", "7") == str(each)), None)
    if days is None:
        raise NoSuchPage("Money is shown for 1, 7 or 30 days.")
    seen = (await sources.seen.latest()).value
    values: dict[str, Any] = {"spend": present.spend_rows(seen.status.spend) if seen else [], "books_trouble": None}
    try:
        names = ("target", "tenant", "task", "reason")
        since, until = sources.day(days - 1), sources.day()
        by_day, *_ = found = [
            await sources.ask(partial(_sums, sources.day_sums, (name,), since, until)) for name in names
        ]
        others = [present.over_days(sums, name) for sums, name in zip(found, names, strict=True)]
        tables = [
            (f"By {name}", present.grouped(sums, name, MOST_ROWS)) for name, sums in zip(names, others, strict=True)
        ]
        values |= {**present.money(by_day, days), "tables": tables}
    except LedgerUnavailable as error:
        values["books_trouble"] = str(error)
    return ConsolePage(
        "Money", "Money", "money.html", {**values, "days": days, "periods": PERIODS}, "money_controls.html"
    )


def _sums(kept: DaySums, group: Sequence[str], since: str, until: str, books: LedgerPages) -> Sequence[Sums]:
    return kept.between(books, group, since, until)


async def dead_letters(sources: Sources, query: Query) -> ConsolePage:
    """Raises: NoSuchPage if a part of the question is none."""
    before = _sequence(query)
    found: Sequence[Kept] = ()
    trouble = None
    try:
        found = await sources.letters(LETTERS_PER_PAGE + 1, before)
    except QueueUnavailable as error:
        trouble = str(error)
    shown = found[:LETTERS_PER_PAGE]
    values = {
        "letters": [present.letter(kept) for kept in shown],
        "letters_trouble": trouble,
        "is_older": before is not None,
        "older": shown[-1].sequence if len(found) > len(shown) else None,
    }
    return ConsolePage("Dead letters", "Dead letters", "dead.html", values, seconds=10.0 if before is None else None)


async def calibrations(sources: Sources, _: Query) -> ConsolePage:
    reading = await sources.in_force.latest()
    values = {
        "calibrations_trouble": reading.trouble if reading.value is None else None,
        "in_force": present.calibrations(reading.value.calibrations) if reading.value else [],
        "unused": present.calibrations(reading.value.unused) if reading.value else [],
    }
    return ConsolePage("Calibrations and promises", "Calibrations", "calibrations.html", values)


async def alerts(sources: Sources, _: Query) -> ConsolePage:
    reading = await sources.alerts.latest()
    values = {
        "is_configured": sources.is_alerted,
        "alerts_trouble": reading.trouble,
        "firing": reading.value.firing if reading.value else (),
        "rules": reading.value.rules if reading.value else (),
    }
    return ConsolePage("Alerts", "Alerts", "alerts.html", values, seconds=10.0 if sources.is_alerted else None)


PAGES: Mapping[str, Maker] = {
    "/": now,
    "/jobs": jobs,
    "/jobs/{tenant}/{job_id}": job,
    "/money": money,
    "/dead-letters": dead_letters,
    "/calibrations": calibrations,
    "/alerts": alerts,
}

NAVIGATION = (
    ("/", "Now"),
    ("/jobs", "Jobs"),
    ("/money", "Money"),
    ("/dead-letters", "Dead letters"),
    ("/calibrations", "Calibrations"),
    ("/alerts", "Alerts"),
)


def _message(
    section: str, message: str, seconds: float | None = None, links: Sequence[tuple[str, str]] = ()
) -> ConsolePage:
    return ConsolePage(section, section, "message.html", {"message": message, "links": links}, seconds=seconds)


def _sequence(query: Query) -> int | None:
    said = query.get("before", "")
    if not said:
        return None
    if not (said.isascii() and said.isdigit() and len(said) <= MAX_DIGITS):
        raise NoSuchPage("before must be the number that a page linked to.")
    return int(said)


def _link(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(query)}" if query else path
