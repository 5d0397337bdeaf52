"""Files that judge a semantic cache, as CSV with a header.

A stream has a row per request with the columns `text` and `answer_class`; requests with one class have the same answer.
The class `oos`, or an empty one, has no right answer in any cache. A file of pairs has the columns `category`, `a`,
`b` and `same_answer` (1 where the answer to `a` also answers `b`, else 0). Other columns are ignored.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from fleet.model.errors import ConfigError

NO_ANSWER = frozenset({"", "oos"})
_LONGEST_FIELD = 1 << 24


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a stream; `answer` is None where no cached answer can be right."""

    text: str
    answer: str | None


@dataclass(frozen=True, slots=True)
class Pair:
    """A cached question `a`, a question `b` that is asked, and whether the answer to `a` answers it."""

    category: str
    a: str
    b: str
    same: bool


def read_stream(path: Path) -> list[Request]:
    """Read a stream. Raises: ConfigError that names file, line, column and rule; OSError if it cannot be read."""
    rows = _rows(path, ("text", "answer_class"))
    for line, (text, _) in rows:
        if not text.strip():
            _refuse(path, "must not be empty", line, "text")
    return [Request(text, None if answer.strip() in NO_ANSWER else answer.strip()) for _, (text, answer) in rows]


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs. Raises: like `read_stream`."""
    rows = _rows(path, ("category", "a", "b", "same_answer"))
    for line, (_, a, b, same) in rows:
        for name, text in (("a", a), ("b", b)):
            if not text.strip():
                _refuse(path, "must not be empty", line, name)
        if same.strip() not in ("0", "1"):
            _refuse(path, f"must be 0 or 1, not {same[:40]!r}", line, "same_answer")
    return [Pair(category, a, b, same.strip() == "1") for _, (category, a, b, same) in rows]


def _rows(path: Path, wanted: Sequence[str]) -> list[tuple[int, tuple[str, ...]]]:
    """Return the wanted columns of every row, each with its line."""
    csv.field_size_limit(_LONGEST_FIELD)
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            places = [_place(path, header, name) for name in wanted]
            found = [(lines.line_num, _fields(path, lines.line_num, row, len(header), places)) for row in lines if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise ConfigError(str(path), f"must be CSV in UTF-8 ({error})") from None
    if not found:
        _refuse(path, "must have at least one row under its header")
    return found


def _place(path: Path, header: Sequence[str], name: str) -> int:
    if header.count(name) != 1:
        _refuse(path, "must be in the header, once", 1, name)
    return header.index(name)


def _fields(path: Path, line: int, row: Sequence[str], width: int, places: Sequence[int]) -> tuple[str, ...]:
    if len(row) != width:
        _refuse(path, f"must have {width} fields like the header, not {len(row)}", line)
    return tuple(row[place] for place in places)


def _refuse(path: Path, rule: str, line: int | None = None, column: str | None = None) -> NoReturn:
    where = [str(path)] + [f"line {line}"] * (line is not None) + [f"column {column}"] * (column is not None)
    raise ConfigError(", ".join(where), rule)
