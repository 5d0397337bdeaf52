"""Files of labelled prompts: the goodness of two targets' answers to the same prompts, as CSV.

One row per prompt, with a header. Columns:

    prompt            the text
    weak_correct      how good the weak target's answer was, from 0 to 1
    strong_correct    the same of the strong target
    weak_response     the weak target's answer; needed only for a scorer that reads it, and may be empty
    task              the task of the prompt; may be left out. A router must beat the table of tasks, where there is one

Other columns are ignored.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from fleet.lab.evaluation.files import LONGEST_FIELD
from fleet.lab.metrics.curve import Array
from fleet.model.errors import ConfigError

_GOODNESS = ("weak_correct", "strong_correct")
TASK = "task"


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPrompts:
    """The columns of a file of labelled prompts; `answers` are the weak target's (None: not read), `tasks` None
    where the file has none."""

    name: str
    prompts: list[str]
    weak_good: Array
    strong_good: Array
    answers: list[str] | None
    tasks: list[str] | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    def rows(self, which: npt.NDArray[np.int64]) -> LabelledPrompts:
        """Return the same file with some of its rows."""
        answers = None if self.answers is None else [self.answers[row] for row in which]
        tasks = None if self.tasks is None else [self.tasks[row] for row in which]
        prompts = [self.prompts[row] for row in which]
        return LabelledPrompts(self.name, prompts, self.weak_good[which], self.strong_good[which], answers, tasks)


def read_labelled(path: Path, with_answer: bool) -> LabelledPrompts:
    """Read and check a file of labelled prompts.

    Raises: ConfigError that names file, line, column and rule; OSError if the file cannot be read.
    """
    wanted = ("prompt", *_GOODNESS, *(("weak_response",) if with_answer else ()))
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            wanted += (TASK,) if TASK in header else ()
            places = _places(path, header, wanted)
            rows = [_row(path, lines.line_num, row, len(header), places) for row in lines if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise ConfigError(str(path), f"must be CSV in UTF-8 ({error})") from None
    if not rows:
        _refuse(path, "must have at least one row under its header")
    columns = {name: [row[name] for row in rows] for name in wanted}
    weak, strong = (np.array(columns[name], dtype=np.float64) for name in _GOODNESS)
    return LabelledPrompts(path.name, columns["prompt"], weak, strong, columns.get("weak_response"), columns.get(TASK))


def _places(path: Path, header: Sequence[str], wanted: Sequence[str]) -> dict[str, int]:
    """Return the places of the wanted columns in the header."""
    if not header:
        _refuse(path, "must start with a header, but is empty")
    for name in wanted:
        if name not in header:
            _refuse(path, f"is missing from the header; required are {', '.join(wanted)}", name, line=1)
        if header.count(name) > 1:
            _refuse(path, "is in the header twice", name, line=1)
    return {name: header.index(name) for name in wanted}


def _row(path: Path, line: int, row: Sequence[str], width: int, places: Mapping[str, int]) -> dict[str, str]:
    """Return one row's used fields. `line` is the last line of a row with line breaks."""
    if len(row) != width:
        _refuse(path, f"must have {width} fields like the header, not {len(row)}", line=line)
    fields = {name: row[place] for name, place in places.items()}
    for name in ("prompt", TASK):
        if name in fields and not fields[name].strip():
            _refuse(path, "must not be empty", name, line)
    for name in _GOODNESS:
        if not _is_goodness(fields[name]):
            _refuse(path, f"must be a number from 0 to 1, not {fields[name][:40]!r}", name, line)
    return fields


def _is_goodness(text: str) -> bool:
    try:
        return 0.0 <= float(text) <= 1.0
    except ValueError:
        return False


def _refuse(path: Path, rule: str, column: str | None = None, line: int | None = None) -> NoReturn:
    where = [str(path)] + [f"line {line}"] * (line is not None) + [f"column {column}"] * (column is not None)
    raise ConfigError(", ".join(where), rule)
