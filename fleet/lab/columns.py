"""Reads columns of a CSV file with a header, and refuses a bad one by file, line, column and rule."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from fleet.model.errors import ConfigError

_LONGEST_FIELD = 1 << 24

Rows = list[tuple[int, tuple[str, ...]]]
"""The wanted fields of every row, each with its line; that is the last one of a row with line breaks."""


def read_columns(path: Path, wanted: Sequence[str]) -> Rows:
    """Read the wanted columns. Raises: ConfigError that names file, line, column and rule; OSError if unreadable."""
    return read_chosen(path, lambda header: wanted)[1]


def read_chosen(path: Path, choose: Callable[[Sequence[str]], Sequence[str]]) -> tuple[Sequence[str], Rows]:
    """Read the columns that `choose` names when it sees the header; return their names too. Raises: as above."""
    csv.field_size_limit(_LONGEST_FIELD)
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            wanted = choose(header)
            places = [_place(path, header, name) for name in wanted]
            found = [(lines.line_num, _fields(path, lines.line_num, row, len(header), places)) for row in lines if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise ConfigError(str(path), f"must be CSV in UTF-8 ({error})") from None
    if not found:
        refuse(path, "must have at least one row under its header")
    return wanted, found


def refuse(path: Path, rule: str, line: int | None = None, column: str | None = None) -> NoReturn:
    """Raise ConfigError with the place in the file and the rule that it breaks."""
    where = [str(path)] + [f"line {line}"] * (line is not None) + [f"column {column}"] * (column is not None)
    raise ConfigError(", ".join(where), rule)


def refuse_blank(path: Path, text: str, line: int, column: str) -> None:
    """Raise ConfigError where the text has nothing to read."""
    if not text.strip():
        refuse(path, "must not be empty", line, column)


def _place(path: Path, header: Sequence[str], name: str) -> int:
    if header.count(name) != 1:
        refuse(path, "must be in the header, once", 1, name)
    return header.index(name)


def _fields(path: Path, line: int, row: Sequence[str], width: int, places: Sequence[int]) -> tuple[str, ...]:
    if len(row) != width:
        refuse(path, f"must have {width} fields like the header, not {len(row)}", line)
    return tuple(row[place] for place in places)
