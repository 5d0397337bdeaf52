"""Tables of reports: on a terminal, and as CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from rich.table import Table

from fleet.cli.output import printable

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would compute."""

LEAST_TEXT = 12
"""Minimum width of a column of text, however narrow the terminal is."""


def table_of(heads: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1, *, wrap_texts: bool = True) -> Table:
    """Return a table whose first `texts` columns are text, and the others numbers; names are text that never wraps."""
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for place, head in enumerate(heads):
        if place < texts:
            table.add_column(head, overflow="fold", min_width=LEAST_TEXT, no_wrap=not wrap_texts)
        else:
            table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(printable, row))
    return table


def csv_of(heads: Sequence[str], rows: Iterable[Sequence[str | int | float | None]]) -> str:
    """Return the rows as CSV: text as on a terminal, and with an apostrophe where a spreadsheet would compute it."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return written.getvalue()


class Amount(str):
    """A number that is written out already: it may begin with a minus."""

    __slots__ = ()


def _cell(value: str | int | float | None) -> str | int | float | None:
    if not isinstance(value, str) or isinstance(value, Amount):
        return value
    return printable(f"'{value}" if value.startswith(_FORMULA) else value)
