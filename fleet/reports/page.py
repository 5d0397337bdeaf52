"""The report of savings as one HTML page that can be sent around: no script, and nothing that is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fleet.reports import dollars
from fleet.reports.baselines import AnotherWay
from fleet.reports.cost import CostReport, CostRow
from fleet.reports.mechanisms import Basis, Mechanism
from fleet.reports.plots import BarPlot, SpanBar, StackPlot, bar_plot, stack_plot
from fleet.reports.savings import SavingsReport
from fleet.reports.totals import Totals, total

MOST_ROWS = 20
"""Rows of a table of costs; what is beyond is added up in one."""

TABLES = {"target": "By target", "task": "By task", "reason": "By reason of the decision that followed"}
"""The tables of costs, by dimension. Tenants are in none: the page is made to be sent around."""


@dataclass(frozen=True, slots=True)
class CostTable:
    """A table of costs: its rows with their names, and how many of them the last one adds up."""

    title: str
    heading: str
    rows: tuple[tuple[str, Totals], ...]


@dataclass(frozen=True, slots=True)
class PageCosts:
    """The costs that the page shows: by day and target, and by each of TABLES."""

    daily: CostReport
    tables: Mapping[str, CostReport]


def page(report: SavingsReport, costs: PageCosts, made_at: float, tenant: str | None = None) -> str:
    """Return the page; `tenant` is the one that the report is about, if it is about one alone."""
    environment = Environment(
        loader=PackageLoader("fleet.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"dollars": dollars.shown, "percent": _percent, "points": _points}
    return environment.get_template("savings.html").render(
        report=report,
        tenant=tenant,
        made_at=datetime.fromtimestamp(made_at, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        baseline_plot=_baseline_plot(report),
        mechanism_plot=_mechanism_plot(report.mechanisms),
        day_plot=_day_plot(costs.daily),
        days=[(row.keys[0], row.sums) for row in _by_day(costs.daily)],
        tables=[_table(TABLES[name], name, found) for name, found in costs.tables.items()],
        saved=_saved,
        Basis=Basis,
    )


def _percent(share: float | None, digits: int = 1) -> str:
    return "not known" if share is None else f"{share:.{digits}%}"


def _points(difference: float) -> str:
    """Return a difference of shares in percentage points."""
    return f"{100 * difference:+.2f}"


def _saved(baseline: AnotherWay, report: SavingsReport) -> dict[str, Any]:
    return baseline.as_json(report.spent.total)


def _baseline_plot(report: SavingsReport) -> BarPlot:
    others = [(each.title, each.cost) for each in report.baselines if each.cost is not None]
    found = [("This fleet", report.spent.total), *others]
    return bar_plot([SpanBar(name, 0, cost, dollars.shown(cost)) for name, cost in found])


def _mechanism_plot(found: Iterable[Mechanism]) -> BarPlot:
    spans = []
    for each in found:
        if each.low is None or each.high is None or each.basis is Basis.ABSENT:
            continue
        is_range = each.low != each.high
        text = f"{dollars.shown(each.low)} to {dollars.shown(each.high)}" if is_range else dollars.shown(each.low)
        spans.append(SpanBar(each.title, each.low if is_range else 0, each.high, text))
    return bar_plot(spans)


def _day_plot(daily: CostReport) -> StackPlot:
    costs = ((row.keys[0] or "", row.keys[1] or "no call", row.sums.cost_nano_usd) for row in daily.rows)
    return stack_plot(each for each in costs if each[2])


def _by_day(daily: CostReport) -> list[CostRow]:
    """Return a row for each day."""
    days = sorted({row.keys[0] or "" for row in daily.rows})
    return [CostRow((day,), total(row.sums for row in daily.rows if row.keys[0] == day)) for day in days]


def _table(title: str, heading: str, report: CostReport) -> CostTable:
    named = [(row.keys[0] or "none", row.sums) for row in report.rows]
    rest = named[MOST_ROWS:]
    if rest:
        named = [*named[:MOST_ROWS], (f"{len(rest):,} others", total(sums for _, sums in rest))]
    return CostTable(title, heading, tuple(named))
