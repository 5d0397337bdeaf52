"""`fleet report savings`: what the fleet cost, beside what the same jobs would have cost otherwise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.books.cost import AsCsv, OneTenant, Since, Until, refuse_both
from fleet.cli.books.diet import diet
from fleet.cli.books.ledger import LedgerUrl
from fleet.cli.books.week import week
from fleet.cli.connection import opened, settings_for
from fleet.cli.extras import needs_ledger
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly
from fleet.files import check_output, write_whole
from fleet.model.errors import QueueUnavailable

if TYPE_CHECKING:
    from fleet.model.feedback import Feedback
    from fleet.reports.books import ReportBooks
    from fleet.reports.page import PageCosts
    from fleet.reports.periods import Period
    from fleet.reports.savings import SavingsReport
    from fleet.settings.environment import Settings
    from policies.rules.rules import Rules

report_app = typer.Typer(help="Reports about money and quality.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """The report that was asked for."""

    since: str | None
    until: str | None
    tenant: str | None
    cloud: str | None
    prices: Path | None


report_app.command()(week)
report_app.command()(diet)


@report_app.command()
def savings(
    since: Since = None,
    until: Until = None,
    tenant: OneTenant = None,
    cloud: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="All-cloud is this target; by default the last one of each job's ladder."),
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="A catalogue with the prices to compare with; by default the fleet's own.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write one self-contained page here, to be sent around.")] = None,
    as_csv: AsCsv = False,
    nats_url: NatsUrl = None,
    ledger_url: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Compare what answering cost with all-cloud, the cheapest good-enough cloud model, and the largest own model."""
    with friendly(as_json), needs_ledger("fleet report"):
        refuse_both(as_json, as_csv)
        check_output("--html", html, (prices,))
        settings = settings_for(nats_url, ledger_url=ledger_url)
        report = _savings(settings, ReportRequest(since, until, tenant, cloud, prices), html)
        _show(report, settings.profile, Output(as_json), as_csv, html)


def _savings(settings: Settings, asked: ReportRequest, html: Path | None) -> SavingsReport:
    """Make the report, and the page if it is wanted.

    Raises: LedgerUnavailable, DamagedArchive, ConfigError; OSError if the page cannot be written.
    """
    from fleet.app import rules_of
    from fleet.reports.books import open_books
    from fleet.reports.page import page
    from fleet.reports.periods import period_of
    from fleet.reports.savings import Question, savings_report
    from fleet.settings.documents import load_catalogue

    now, rules = time.time(), rules_of(settings)
    period = period_of(asked.since, asked.until, now)
    prices = rules.catalogue if asked.prices is None else load_catalogue(asked.prices, settings.profile)
    with open_books(settings.ledger_address, settings.archive_dir, asked.tenant) as books:
        feedback = asyncio.run(_feedback(settings))
        report = savings_report(books, Question(period, prices, asked.cloud), rules, feedback)
        if html is not None:
            write_whole(html, page(report, _page_costs(books, period, rules), now, asked.tenant).encode())
    return report


async def _feedback(settings: Settings) -> Sequence[Feedback] | None:
    """Return all feedback that is kept; None if no broker answers."""
    from fleet.app import open_journal

    try:
        async with opened(settings, open_journal) as journal:
            return [each async for each in journal.feedback()]
    except QueueUnavailable:
        return None


def _page_costs(books: ReportBooks, period: Period, rules: Rules) -> PageCosts:
    from fleet.reports.cost import cost_report
    from fleet.reports.page import TABLES, PageCosts

    daily = cost_report(books, ("day", "target"), period, rules)
    return PageCosts(daily, {name: cost_report(books, (name,), period, rules) for name in TABLES})


def _show(report: SavingsReport, profile: str, output: Output, as_csv: bool, html: Path | None) -> None:
    from fleet.cli.books.savings_view import csv_lines, view

    if as_csv:
        typer.echo(csv_lines(report), nl=False)
        return
    output.object({**report.as_json(), "profile": profile})
    output.show(*view(report))
    output.say(f"own models are priced as the profile {profile} has them (FLEET_PROFILE)")
    if html is not None:
        output.say(f"page  {html}")
