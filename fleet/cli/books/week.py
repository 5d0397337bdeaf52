"""`fleet report week`: what fell through to dearer targets, and what each change would have saved."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from fleet.cli.books.cost import OneTenant, Until
from fleet.cli.books.ledger import LedgerUrl
from fleet.cli.books.tables import table_of
from fleet.cli.connection import opened, settings_for
from fleet.cli.extras import needs_learn, needs_ledger
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly
from fleet.model.errors import QueueUnavailable
from fleet.reports.dollars import shown
from policies.money import nano_of

if TYPE_CHECKING:
    from fleet.lab.learning.collected import LabelledAnswer
    from fleet.lab.weekly.changes import Change
    from fleet.lab.weekly.fell import FellThrough, Servable
    from fleet.reports.week import WeekReport
    from fleet.settings.environment import Settings

SHOWN = 12
"""Rows of what fell through that are shown; all are in the JSON."""

FELL = ("task", "target", "reason", "jobs", "cost after it")
SERVABLE = ("task", "target", "doubted", "judged", "would have served")
CHANGES = ("change", "task", "target", "verdict", "saved a week", "kept wrongly")

_VERDICTS = {
    "proposed": "proposed",
    "no_saving": "not sure to save",
    "breaks_promise": "not sure to keep the promise",
    "labels_missing": "cannot be said",
}


def week(
    until: Until = None,
    window: Annotated[int, typer.Option(min=7, help="Days of comparisons by which kept answers are judged.")] = 56,
    tenant: OneTenant = None,
    nats_url: NatsUrl = None,
    ledger_url: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show what fell through to dearer targets in the seven days up to --until, and what each change would save."""
    with friendly(as_json), needs_ledger("fleet report"), needs_learn("fleet report week"):
        settings = settings_for(nats_url, ledger_url=ledger_url)
        labels = asyncio.run(_labels(settings))
        report = _report(settings, until, window, tenant, labels or ())
        output = Output(as_json)
        output.object(report.as_json())
        output.show(*_view(report))
        if labels is None:
            output.say("No broker answers, so nothing is known of how good answers were.")


def _report(
    settings: Settings, until: str | None, window: int, tenant: str | None, labels: Sequence[LabelledAnswer]
) -> WeekReport:
    from fleet.app import rules_of
    from fleet.reports.books import open_books
    from fleet.reports.periods import days_until
    from fleet.reports.week import week_report

    now = time.time()
    with open_books(settings.ledger_address, settings.archive_dir, tenant) as books:
        return week_report(books, days_until(until, 7, now), days_until(until, window, now), rules_of(settings), labels)


async def _labels(settings: Settings) -> Sequence[LabelledAnswer] | None:
    """Return every judged answer; None if no broker answers."""
    from fleet.app import open_journal
    from fleet.lab.learning.collected import collect

    try:
        async with opened(settings, open_journal) as journal:
            return (await collect(journal)).labels
    except QueueUnavailable:
        return None


def _view(report: WeekReport) -> Iterator[RenderableType]:
    week = report.week
    head = f"{week.since} to {week.until}: {report.answers:,} answers with a confidence, {_dollars(report.usd)}"
    yield Text(head, "bold")
    yield from _titled("What fell through", FELL, [_fell(each) for each in report.fell[:SHOWN]], texts=3)
    yield from _titled("What would have served", SERVABLE, [_servable(each) for each in report.servable], texts=2)
    yield from _titled("Changes", CHANGES, [_change(each) for each in report.changes], texts=4)
    yield ""
    yield from (line for each in report.changes if (line := _proposal(each)) is not None)


def _titled(title: str, heads: Sequence[str], rows: list[tuple[str, ...]], texts: int) -> Iterator[RenderableType]:
    yield ""
    yield Text(title if rows else f"{title}: nothing", "bold")
    if rows:
        yield table_of(heads, rows, texts=texts)


def _dollars(usd: float) -> str:
    return shown(nano_of(usd))


def _fell(row: FellThrough) -> tuple[str, ...]:
    return row.task, row.target, row.reason, f"{row.jobs:,}", _dollars(row.usd)


def _servable(row: Servable) -> tuple[str, ...]:
    share = f"{row.labels_missing:,} labels missing" if row.share is None else _percents(**asdict(row.share))
    return row.task, row.target, f"{row.jobs:,}", f"{row.judged:,}", share


def _percents(value: float, low: float, high: float) -> str:
    return f"{value:.1%} ({low:.1%} to {high:.1%})"


def _change(row: Change) -> tuple[str, ...]:
    saved = row.saved_usd
    verdict = _VERDICTS[row.verdict] + (f": {row.labels_missing:,} labels missing" if row.labels_missing else "")
    money = f"{_dollars(saved.value)} ({_dollars(saved.low)} to {_dollars(saved.high)})"
    return str(row.kind), row.task, row.target, verdict, money, f"at most {row.lost:.1%}"


def _proposal(row: Change) -> str | None:
    """Say what to do, for a change that is proposed."""
    if row.verdict != "proposed":
        return None
    if row.threshold is None:
        return f"Leave {row.target} out of the ladder of {row.task}: `phases.<phase>.tasks` in the rules."
    return f"Keep answers of {row.target} to {row.task} from a confidence of {row.threshold:.3f} on: `fleet calibrate`."
