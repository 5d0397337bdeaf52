"""Turns a line of the stream into a row: pure, and it never fails, for a line it refused would stop all behind it.

Columns are taken by name from the JSON as far as they are there and fit: a line of an older version has fewer, one of a
newer version more. The bytes are kept whatever they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from pydantic_core import from_json

from fleet.ledger.tables import GROUPS, SUMS, TEXT_CHARS, TOKENS, WORD_CHARS
from fleet.model.result import LedgerLine
from fleet.model.target import WITHOUT_CALL
from fleet.receipts.leaves import commitment_of, leaf_of
from fleet.receipts.merkle import leaf_hash

Row = dict[str, Any]
"""A row of `entries`, by the names of its columns."""

END = "end"
"""The key of the line that ends a job without an attempt; it has the number 0 on the wire."""

AHEAD_SECONDS = 3600.0
"""Seconds that the broker's clock may be ahead of ours. Further ahead it is a clock that jumped: its day would be the
day of every line after it.
"""

MAX_COUNT = 10**15
"""Maximum of tokens, and of nano-dollars (a million dollars), that is believed: sums of a day must fit 64 bits."""

MAX_SECONDS = 30 * 86_400.0
"""Maximum duration of an attempt that is believed: where it took longer, a clock was set meanwhile."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""Matches characters that PostgreSQL stores in no text: NUL, and halves of surrogate pairs."""

NANO = 1_000_000_000

STEPS = 2**20
"""Steps of a second in which the time of attempts is added up."""

DAY_SECONDS = 86_400


def time_of(line: LedgerLine, before: float, now: float) -> float:
    """Return the time that counts for a line: that of the broker's store, but never before the line before.

    A time that is far ahead of `now` is not believed. All are unix seconds.
    """
    believed = line.stored_at if line.stored_at <= now + AHEAD_SECONDS else before or now
    return max(before, believed)


def day_of(at: float) -> str:
    """Return the UTC day of a time, as YYYY-MM-DD."""
    return _day(int(at // DAY_SECONDS))


@lru_cache(8)
def _day(number: int) -> str:
    return datetime.fromtimestamp(number * DAY_SECONDS, UTC).date().isoformat()


def row_of(line: LedgerLine, at: float, salt: bytes) -> Row:
    """Return the row of a line whose time is `at`."""
    entry = _fields(line.data)
    job_id, key = _identity(line, entry)
    attempt, assigned = _mapping(entry.get("attempt")), _mapping(entry.get("assigned"))
    row: Row = {
        "seq": line.sequence,
        "day": day_of(at),
        "at": at,
        "tenant": _text(line.tenant, WORD_CHARS) or "",
        "job_id": job_id,
        "line": key,
        "lane": _text(entry.get("lane"), WORD_CHARS),
        "task": _text(entry.get("task"), WORD_CHARS),
        "plan": _text(entry.get("plan"), WORD_CHARS),
        "status": _text(entry.get("status"), WORD_CHARS),
        "reason": _text(entry.get("reason"), WORD_CHARS),
        "person": _text(entry.get("person"), TEXT_CHARS),
        **_columns_of(attempt),
        "target": _text(attempt.get("target") if attempt else entry.get("target"), WORD_CHARS),
        "submitted_at": _number(entry.get("submitted_at")),
        "traceparent": _text(entry.get("traceparent"), TEXT_CHARS),
        "experiment": _text(assigned.get("experiment"), WORD_CHARS),
        "arm": _text(assigned.get("arm"), WORD_CHARS),
        "propensity": _number(assigned.get("propensity")),
        "body": line.data,
        "salt": salt,
    }
    row["commitment"] = commitment_of(salt, row, line.data)
    row["leaf"] = leaf_hash(leaf_of(row))
    return row


def sums_of(rows: Iterable[Row]) -> list[Row]:
    """Return what these rows add to the rollups: a row of `rollups` for each key."""
    found: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        key = tuple(row[name] or "" for name in GROUPS)
        sums = found.setdefault(key, [0] * len(SUMS))
        for index, value in enumerate(_added(row)):
            sums[index] += value
    names = (*GROUPS, *SUMS)
    return [dict(zip(names, (*key, *sums), strict=True)) for key, sums in sorted(found.items())]


def _added(row: Row) -> list[float]:
    """Return what one row adds to each of `SUMS`."""
    ran = row["attempt"] is not None and row["target"] not in WITHOUT_CALL
    seconds = (row["ended_at"] or 0.0) - (row["started_at"] or 0.0) if ran else 0.0
    believed = seconds if 0.0 < seconds <= MAX_SECONDS else 0.0
    counts = (1, ran, row["status"] is not None, row["failure"] is not None, row["cost_nano_usd"] or 0)
    # Whole microseconds, near enough, in binary: such sums are exact, so they come out the same in any order.
    return [*counts, *(row[name] or 0 for name in TOKENS), round(believed * STEPS) / STEPS]


def _columns_of(attempt: Mapping[str, Any]) -> Row:
    usage, judged, cached, diet = (_mapping(attempt.get(name)) for name in ("usage", "judged", "cached", "diet"))
    avoided = _mapping(cached.get("usage") or attempt.get("avoided"))
    cost = _number((_number(attempt.get("cost_usd")) or 0.0) * NANO)
    return {
        "attempt": _count(attempt.get("number")),
        "provider": _text(attempt.get("provider"), WORD_CHARS),
        "model": _text(attempt.get("model"), TEXT_CHARS),
        "region": _text(attempt.get("region"), WORD_CHARS),
        "started_at": _number(attempt.get("started_at")),
        "ended_at": _number(attempt.get("ended_at")),
        "finish_reason": _text(attempt.get("finish_reason"), TEXT_CHARS),
        "failure": _text(_mapping(attempt.get("failure")).get("kind"), WORD_CHARS),
        "confidence": _number(attempt.get("confidence")),
        "threshold": _number(judged.get("threshold")),
        "calibration": _text(judged.get("calibration"), TEXT_CHARS),
        "probe": _text(attempt.get("probe"), WORD_CHARS),
        "repeated": attempt["repeated"] is True if "repeated" in attempt else None,
        "cost_nano_usd": None if cost is None or not attempt else _count(round(cost)),
        **{name: _count(usage.get(name, 0 if usage else None)) for name in TOKENS},
        "batch": _text(_mapping(attempt.get("hop")).get("batch"), WORD_CHARS),
        "avoided_target": _text(cached.get("target"), WORD_CHARS),
        "avoided_at": _number(cached.get("answered_at")),
        **{f"avoided_{name}": _count(avoided.get(name)) for name in ("input_tokens", "output_tokens")},
        **_columns_of_diet(diet),
        "adapter": _text(attempt.get("adapter"), WORD_CHARS),
    }


def _columns_of_diet(diet: Mapping[str, Any]) -> Row:
    tokens = [_count(diet.get(f"{what}_tokens")) or 0 for what in ("message", "tool")]
    is_spare, agreed = diet.get("shadow") is True, diet.get("agreed")
    return {
        "left_out_tokens": sum(tokens) if diet and not is_spare else None,
        "spare_tokens": sum(tokens) if is_spare else None,
        "diet_agreed": agreed if isinstance(agreed, bool) else None,
    }


def _fields(data: bytes) -> Mapping[str, Any]:
    try:
        return _mapping(from_json(data, allow_inf_nan=True))
    except ValueError:
        return {}


def _identity(line: LedgerLine, entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return the job's id and the line's key, by the message's id: a repeated line has the same.

    Without such an id a line cannot be recognised again, and its number is its key.
    """
    prefix = f"{line.tenant}."
    if line.message_id is not None and line.message_id.startswith(prefix):
        job_id, _, key = line.message_id.removeprefix(prefix).partition(".")
        if job_id and key:
            key = END if key == "0" else key
            return _text(job_id, WORD_CHARS) or "", _text(key, WORD_CHARS) or ""
    return _text(entry.get("id"), WORD_CHARS) or "", f"#{line.sequence}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any, most_chars: int) -> str | None:
    if not isinstance(value, str):
        return None
    return storable(value[:most_chars])


def storable(text: str) -> str:
    """Return the text as a database of either kind stores it, and so finds it again."""
    return text if text.isprintable() else _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _number(value: Any) -> float | None:
    """Return a finite number; an infinite one, or one beyond a double, is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _count(value: Any) -> int | None:
    """Return a whole number that may be believed."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= MAX_COUNT else None
