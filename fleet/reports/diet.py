"""`fleet report diet`: what calls left out or could have left out, and whether their answers stayed the same."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleet.model.reason import Reason
from fleet.reports.books import ReportBooks
from fleet.reports.periods import Period
from fleet.reports.shares import Share, share_of

_TOKENS = ("left_out_tokens", "spare_tokens")

COLUMNS = ("task", "target", "reason", "failure", *_TOKENS, "diet_agreed")


@dataclass(frozen=True, slots=True)
class DietRow:
    """The calls of one task to one target.

    `calls` left out, or could have left out, so many tokens (estimates); `restored` of them lacked a tool or were
    unusable, and were made again with all tools. Of `comparisons` those that are `unclear` have answers of which
    letters cannot tell whether they say the same; `agreed` is the share of the others that do, None without any.
    """

    task: str
    target: str
    calls: int
    left_out_tokens: int
    spare_tokens: int
    restored: int
    comparisons: int
    unclear: int
    agreed: Share | None


@dataclass(frozen=True, slots=True)
class DietReport:
    period: Period
    rows: tuple[DietRow, ...]

    def as_json(self) -> dict[str, Any]:
        return {"since": self.period.since, "until": self.period.until, "rows": [asdict(row) for row in self.rows]}


Counts = defaultdict[tuple[str, str], Counter[str]]
"""What lines say, by task and target."""


def _add(counts: Counts, lines: pa.Table) -> None:
    """Add the lines of a day."""
    on_diet = lines.filter(pc.or_(pc.is_valid(lines["left_out_tokens"]), pc.is_valid(lines["spare_tokens"])))
    compared = pc.fill_null(pc.equal(on_diet["reason"], str(Reason.SHADOW)), False)
    calls = on_diet.filter(pc.invert(compared))
    restored = pc.fill_null(pc.equal(calls["reason"], str(Reason.TOOLS_RESTORED)), False)
    _sum(counts, calls, {"calls": None, "restored": restored} | {name: calls[name] for name in _TOKENS})
    answered = on_diet.filter(pc.and_(compared, pc.is_null(on_diet["failure"])))
    agreed = answered["diet_agreed"]
    _sum(counts, answered, {"comparisons": None, "unclear": pc.is_null(agreed), "agreed": pc.fill_null(agreed, False)})


def _sum(counts: Counts, lines: pa.Table, columns: Mapping[str, pa.ChunkedArray | None]) -> None:
    """Add the sums of these columns by task and target; a column that is None counts the lines."""
    ones = pa.array([1] * len(lines), pa.int64())
    values = {name: ones if of is None else pc.cast(of, pa.int64()) for name, of in columns.items()}
    table = pa.table({"task": lines["task"], "target": lines["target"], **values})
    for row in table.group_by(["task", "target"]).aggregate([(name, "sum") for name in values]).to_pylist():
        counts[row["task"] or "", row["target"] or ""].update({name: row[f"{name}_sum"] or 0 for name in values})


def _row(key: tuple[str, str], counted: Counter[str]) -> DietRow:
    left_out, spare = (counted[name] for name in _TOKENS)
    compared, unclear = counted["comparisons"], counted["unclear"]
    agreed = share_of(counted["agreed"], compared - unclear)
    return DietRow(*key, counted["calls"], left_out, spare, counted["restored"], compared, unclear, agreed)


def diet_report(books: ReportBooks, period: Period) -> DietReport:
    """Return the report of a period. Raises: LedgerUnavailable, DamagedArchive."""
    counts: Counts = defaultdict(Counter)
    for book in books.of(period):
        _add(counts, books.lines(book, COLUMNS))
    return DietReport(period, tuple(_row(key, counts[key]) for key in sorted(counts)))
