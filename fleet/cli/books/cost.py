"""`fleet cost`: what answering cost, by day, target, tenant, task, tier or reason."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fleet.cli.books.ledger import LedgerUrl
from fleet.cli.books.tables import Amount, csv_of, table_of
from fleet.cli.extras import needs_ledger
from fleet.cli.options import AsJson
from fleet.cli.output import Output, friendly
from fleet.model.errors import ConfigError

if TYPE_CHECKING:
    from fleet.reports.cost import CostReport
    from fleet.reports.totals import Totals

Since = Annotated[str | None, typer.Option(metavar="DAY", help="First day, as 2026-11-01; by default 30 days in all.")]
Until = Annotated[str | None, typer.Option(metavar="DAY", help="Last day, which counts; by default today (UTC).")]
OneTenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's jobs.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV with exact amounts, and nothing else.")]


def cost(
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="WHAT", help="day, target, tenant, task, tier, reason, lane, plan or status; repeatable."),
    ] = None,
    since: Since = None,
    until: Until = None,
    tenant: OneTenant = None,
    as_csv: AsCsv = False,
    ledger_url: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show what answering cost, from the ledger's database and its archive."""
    with friendly(as_json), needs_ledger("fleet cost"):
        refuse_both(as_json, as_csv)
        report = _report(by or ["day"], since, until, tenant, ledger_url)
        if as_csv:
            typer.echo(_csv(report), nl=False)
            return
        output = Output(as_json)
        output.object(report.as_json())
        output.show(_table(report), "", _words(report))


def refuse_both(as_json: bool, as_csv: bool) -> None:
    """Raises: ConfigError if both are asked for."""
    if as_json and as_csv:
        raise ConfigError("--csv", "does not go with --json")


def _report(
    by: list[str], since: str | None, until: str | None, tenant: str | None, ledger_url: str | None
) -> CostReport:
    from fleet.app import rules_of
    from fleet.reports.books import open_books
    from fleet.reports.cost import BY, cost_report
    from fleet.reports.periods import period_of
    from fleet.settings.environment import load

    for name in by:
        if name not in BY:
            raise ConfigError("--by", f"must be one of {', '.join(BY)}, not {name!r}")
    settings = load(ledger_url=ledger_url)
    period, rules = period_of(since, until, time.time()), rules_of(settings)
    with open_books(settings.ledger_address, settings.archive_dir, tenant) as books:
        return cost_report(books, tuple(dict.fromkeys(by)), period, rules)


_HEADS = ("jobs", "calls", "failed", "input", "output", "cost")


def _table(report: CostReport) -> Table:
    rows = [(*(key or "-" for key in row.keys), *_cells(row.sums)) for row in report.rows]
    if len(rows) > 1:
        rows.append(("total", *[""] * (len(report.by) - 1), *_cells(report.total)))
    return table_of((*report.by, *_HEADS), rows, texts=len(report.by), wrap_texts=False)


def _cells(sums: Totals) -> tuple[str, ...]:
    from fleet.reports.dollars import shown

    counts = (sums.jobs, sums.attempts, sums.failures, sums.input_tokens, sums.output_tokens)
    return (*(f"{count:,}" for count in counts), shown(sums.cost_nano_usd))


def _words(report: CostReport) -> str:
    archived, live = len(report.archived), len(report.live)
    return f"{report.period.since} to {report.period.until}: {archived} days from the archive, {live} from the database"


def _csv(report: CostReport) -> str:
    from fleet.reports.dollars import exact
    from fleet.reports.totals import MEASURES

    rows = (
        (*row.keys, *(getattr(row.sums, name) for name in MEASURES), Amount(exact(row.sums.cost_nano_usd)))
        for row in report.rows
    )
    return csv_of((*report.by, *MEASURES, "cost_usd"), rows)
