"""Replay files: the results of a weak and a strong target on the same requests, as CSV.

One row per request, with a header. Three columns are required:

    weak_logprob      natural logarithm of the weak target's confidence in its answer, at most 0
    weak_correct      1 if the weak answer was right, else 0
    strong_correct    1 if the strong answer was right, else 0

These are optional; if there is one, every row must have it:

    weak_cost_usd, strong_cost_usd          price of the request on either target
    weak_latency_ms, strong_latency_ms      how long either target took
    prompt_chars                            length of the prompt, for the length baseline

Other columns are ignored.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from fleet.lab.metrics.curve import Array
from fleet.model.errors import ConfigError

Rule = tuple[Callable[[float], bool], str]

LONGEST_FIELD = 1 << 24
"""Maximum characters in one field: other columns may hold whole documents."""
_LABEL: Rule = (lambda value: value in (0, 1), "must be 0 or 1")
_AMOUNT: Rule = (lambda value: value >= 0, "must be a finite number, 0 or more")
_REQUIRED: dict[str, Rule] = {
    "weak_logprob": (lambda value: value <= 0, "must be a finite logarithm of a probability, so 0 or less"),
    "weak_correct": _LABEL,
    "strong_correct": _LABEL,
}
_OPTIONAL: dict[str, Rule] = {
    "weak_cost_usd": _AMOUNT,
    "strong_cost_usd": _AMOUNT,
    "weak_latency_ms": _AMOUNT,
    "strong_latency_ms": _AMOUNT,
    "prompt_chars": _AMOUNT,
}


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """The columns of a replay file, one value per row; None for a column the file does not have."""

    name: str
    weak_logprob: Array
    weak_correct: Array
    strong_correct: Array
    weak_cost_usd: Array | None = None
    strong_cost_usd: Array | None = None
    weak_latency_ms: Array | None = None
    strong_latency_ms: Array | None = None
    prompt_chars: Array | None = None

    def __len__(self) -> int:
        return len(self.weak_logprob)

    def rows(self, which: slice | npt.NDArray[np.int64]) -> Replay:
        """Return the same file with some of its rows."""
        columns = ((field.name, getattr(self, field.name)) for field in fields(self))
        chosen: dict[str, Any] = {name: column[which] for name, column in columns if isinstance(column, np.ndarray)}
        return replace(self, **chosen)


def read_replay(path: Path) -> Replay:
    """Read and check a replay file.

    Raises: ConfigError that names file, line, column and rule; OSError if the file cannot be read.
    """
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            columns = _wanted(path, header)
            rows = ((lines.line_num, row) for row in lines if row)
            values = [_numbers(path, line, row, len(header), columns) for line, row in rows]
        except (UnicodeDecodeError, csv.Error) as error:
            raise ConfigError(str(path), f"must be CSV in UTF-8 ({error})") from None
    if not values:
        _refuse(path, "must have at least one row under its header")
    return Replay(path.name, **dict(zip(columns, np.array(values, dtype=np.float64).T, strict=True)))


def read_cascade(path: Path) -> Replay:
    """Read a file like `read_replay` whose confidence is judged: it must hold right answers and wrong ones."""
    replay = read_replay(path)
    if len(np.unique(replay.weak_correct)) < 2:
        _refuse(path, "must have both 0 and 1: there is nothing for confidence to tell apart", "weak_correct")
    return replay


def _wanted(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Return the columns that are used, with their places."""
    if not header:
        _refuse(path, "must start with a header, but is empty")
    for name in _REQUIRED:
        if name not in header:
            _refuse(path, f"is missing from the header; required are {', '.join(_REQUIRED)}", name, line=1)
    for name in _OPTIONAL | _REQUIRED:
        if header.count(name) > 1:
            _refuse(path, "is in the header twice", name, line=1)
    return {name: header.index(name) for name in _REQUIRED | _OPTIONAL if name in header}


def _numbers(path: Path, line: int, row: Sequence[str], width: int, columns: Mapping[str, int]) -> list[float]:
    if len(row) != width:
        _refuse(path, f"must have {width} fields like the header, not {len(row)}", line=line)
    return [_number(path, line, name, row[place]) for name, place in columns.items()]


def _number(path: Path, line: int, name: str, text: str) -> float:
    holds, rule = (_REQUIRED | _OPTIONAL)[name]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or not holds(value):
        _refuse(path, f"{rule}, not {text[:40]!r}", name, line)
    return value


def _refuse(path: Path, rule: str, column: str | None = None, line: int | None = None) -> NoReturn:
    where = [str(path)] + [f"line {line}"] * (line is not None) + [f"column {column}"] * (column is not None)
    raise ConfigError(", ".join(where), rule)
