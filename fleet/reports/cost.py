"""`fleet cost`: what answering cost, by day, target, tenant, task, tier or reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.model.job import Tier
from fleet.reports.books import DIMENSIONS, Keys, ReportBooks
from fleet.reports.periods import Period
from fleet.reports.totals import Totals, total
from policies.rules.rules import Rules

BY = (*DIMENSIONS, "tier")
"""What a cost report may be grouped by. The tier is that which the rules give the task."""

BY_REQUEST = "by_request"
"""The tier of tasks for which the rules name none: the complexity of each request decided."""


@dataclass(frozen=True, slots=True)
class CostRow:
    """A group's name in each of the report's dimensions (None: it has none there), and its sums."""

    keys: Keys
    sums: Totals


@dataclass(frozen=True, slots=True)
class CostReport:
    """The cost of a period. `archived` days were read from Parquet, `live` days from the database."""

    period: Period
    by: tuple[str, ...]
    rows: tuple[CostRow, ...]
    total: Totals
    archived: tuple[str, ...]
    live: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "since": self.period.since,
            "until": self.period.until,
            "by": list(self.by),
            "rows": [dict(zip(self.by, row.keys, strict=True)) | row.sums.as_json() for row in self.rows],
            "total": self.total.as_json(),
            "days": {"archived": list(self.archived), "live": list(self.live)},
        }


def cost_report(books: ReportBooks, by: Sequence[str], period: Period, rules: Rules) -> CostReport:
    """Add up the period's lines by some of BY. Raises: DamagedArchive."""
    found: defaultdict[Keys, Totals] = defaultdict(Totals)
    read = books.of(period)
    kept_by = ["task" if name == "tier" else name for name in by]
    rename = _renamed(by, rules)
    for book in read:
        for keys, sums in books.sums(book, tuple(dict.fromkeys(kept_by))):
            names = dict(zip(dict.fromkeys(kept_by), keys, strict=True))
            found[rename([names[name] for name in kept_by])] += sums
    rows = sorted((CostRow(keys, sums) for keys, sums in found.items()), key=_order(by))
    return CostReport(
        period,
        tuple(by),
        tuple(rows),
        total(found.values()),
        archived=tuple(book.day for book in read if book.digest is not None),
        live=tuple(book.day for book in read if book.digest is None),
    )


def tier_of_task(task: str | None, rules: Rules) -> Tier | None:
    """Return the tier that the rules give the task; None where the complexity of the request decides."""
    named = None if task is None else rules.tasks.get(task)
    return None if named is None else named.tier


def _renamed(by: Sequence[str], rules: Rules) -> Callable[[Keys | list[str | None]], Keys]:
    def tier(task: str | None) -> str | None:
        return None if task is None else tier_of_task(task, rules) or BY_REQUEST

    return lambda keys: tuple(tier(key) if name == "tier" else key for name, key in zip(by, keys, strict=True))


def _order(by: Sequence[str]) -> Callable[[CostRow], Any]:
    """Days from first to last; in each, what cost most comes first."""
    dated = [position for position, name in enumerate(by) if name == "day"]

    def order(row: CostRow) -> Any:
        days = [row.keys[position] or "" for position in dated]
        return days, -row.sums.cost_nano_usd, -row.sums.lines, [key or "" for key in row.keys]

    return order
