"""`fleet report diet`: what calls left out, and whether their answers stayed the same."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fleet.cli.books.cost import OneTenant, Since, Until
from fleet.cli.books.ledger import LedgerUrl
from fleet.cli.books.tables import table_of
from fleet.cli.extras import needs_ledger
from fleet.cli.options import AsJson
from fleet.cli.output import Output, friendly

if TYPE_CHECKING:
    from fleet.reports.diet import DietReport, DietRow

_HEADS = ("task", "target", "calls", "left out", "could go", "restored", "compared", "unclear", "agreed", "95 %")
_LEGEND = """left out, could go   tokens, estimated; what could go was only tried beside the whole call (shadow)
restored             calls made again with all tools
unclear              comparisons of long texts, which letters cannot judge"""


def diet(
    since: Since = None,
    until: Until = None,
    tenant: OneTenant = None,
    ledger_url: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show what calls left out or could have left out, and how often their answers stayed the same."""
    with friendly(as_json), needs_ledger("fleet report"):
        report = _report(since, until, tenant, ledger_url)
        output = Output(as_json)
        output.object(report.as_json())
        rows = [_cells(row) for row in report.rows]
        output.show(table_of(_HEADS, rows, texts=2, wrap_texts=False) if rows else "no call had a diet")
        if rows:
            output.show("", _LEGEND)


def _report(since: str | None, until: str | None, tenant: str | None, ledger_url: str | None) -> DietReport:
    from fleet.reports.books import open_books
    from fleet.reports.diet import diet_report
    from fleet.reports.periods import period_of
    from fleet.settings.environment import load

    settings = load(ledger_url=ledger_url)
    with open_books(settings.ledger_address, settings.archive_dir, tenant) as books:
        return diet_report(books, period_of(since, until, time.time()))


def _cells(row: DietRow) -> tuple[str, ...]:
    agreed = row.agreed
    counts = (row.calls, row.left_out_tokens, row.spare_tokens, row.restored, row.comparisons, row.unclear)
    share = ("-", "-") if agreed is None else (f"{agreed.share:.1%}", f"{agreed.low:.1%} to {agreed.high:.1%}")
    return (row.task or "-", row.target or "-", *(f"{count:,}" for count in counts), *share)
