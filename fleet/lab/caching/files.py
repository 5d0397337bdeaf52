"""Files that judge a semantic cache, as CSV with a header.

A stream has a row per request with the columns `text` and `answer_class`; requests with one class have the same answer.
The class `oos`, or an empty one, has no right answer in any cache. A file of pairs has the columns `category`, `a`,
`b` and `same_answer` (1 where the answer to `a` also answers `b`, else 0). Other columns are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleet.lab.columns import read_columns, refuse, refuse_blank

NO_ANSWER = frozenset({"", "oos"})


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
    rows = read_columns(path, ("text", "answer_class"))
    for line, (text, _) in rows:
        refuse_blank(path, text, line, "text")
    return [Request(text, None if answer.strip() in NO_ANSWER else answer.strip()) for _, (text, answer) in rows]


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs. Raises: like `read_stream`."""
    rows = read_columns(path, ("category", "a", "b", "same_answer"))
    for line, (_, a, b, same) in rows:
        refuse_blank(path, a, line, "a")
        refuse_blank(path, b, line, "b")
        if same.strip() not in ("0", "1"):
            refuse(path, f"must be 0 or 1, not {same[:40]!r}", line, "same_answer")
    return [Pair(category, a, b, same.strip() == "1") for _, (category, a, b, same) in rows]
