"""The comparison of two answers: whether they say the same."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata

from fleet.model.attempt import Answer

_FINAL = re.compile(r"####\s*(.+)|(?:final answer|answer)\s*(?:is|:)\s*(.+)", re.IGNORECASE)
"""Pattern of the markers after which models put their final answer."""

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")

CLOSED_WORDS = 12
"""Words up to which texts are compared; longer ones can say the same in other words, which letters cannot tell."""


def agree(one: Answer, other: Answer) -> bool | None:
    """Return True if both say the same, False if not, None where comparing words cannot tell.

    JSON is compared as values, tool calls by name and arguments, the rest by what follows a final-answer marker or
    else whole, without case, accents of width, punctuation and blanks; two numbers are compared as numbers.
    """
    calls = one.message.get("tool_calls"), other.message.get("tool_calls")
    if calls[0] or calls[1]:
        return _called(calls[0]) == _called(calls[1])
    a, b = one.text, other.text
    values = _json(a), _json(b)
    if values[0] is not None and values[1] is not None:
        return bool(values[0] == values[1])
    first, second = _said(a), _said(b)
    if first == second:
        return True
    closed = min(len(first.split()), len(second.split())) <= CLOSED_WORDS
    return False if closed else None


def identity(answer: Answer) -> str:
    """Return a name that two answers share if `agree` finds them the same, and else hardly ever."""
    if calls := answer.message.get("tool_calls"):
        said = repr(_called(calls))
    else:
        value = _json(answer.text)
        said = _said(answer.text) if value is None else json.dumps(value, sort_keys=True)
    return hashlib.sha256(said.encode(errors="replace")).hexdigest()[:16]


def _called(calls: object) -> list[object]:
    if not isinstance(calls, list):
        return []
    functions = [call.get("function") or {} for call in calls if isinstance(call, dict)]
    return [(each.get("name"), _json(str(each.get("arguments")))) for each in functions]


def _json(text: str) -> object:
    """Parse objects and lists only: a bare word or number is compared as text."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _said(text: str) -> str:
    marked = list(_FINAL.finditer(text))
    final = str(marked[-1][1] or marked[-1][2]) if marked else text
    plain = " ".join(re.sub(r"[^\w\s.,-]", " ", unicodedata.normalize("NFKC", final)).casefold().split()).strip(" .,-")
    number = _NUMBER.fullmatch(plain)
    return " ".join(re.split(r"[\s.,]+", plain)) if number is None else _as_number(plain)


def _as_number(text: str) -> str:
    return f"{float(text.replace(',', '')):.10g}"
