"""Totals over lines of the ledger: whole numbers, so that they are exact in any order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from fleet.model.money import NanoUsd


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums of a group of lines.

    `attempts` are the calls, `jobs` those that ended, `failures` the calls without an answer. Cached and written tokens
    are part of the input, reasoning tokens of the output. `attempt_seconds` is the time of all calls.
    """

    lines: int = 0
    attempts: int = 0
    jobs: int = 0
    failures: int = 0
    cost_nano_usd: NanoUsd = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_1h_tokens: int = 0
    attempt_seconds: float = 0.0

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(getattr(self, name) + getattr(other, name) for name in MEASURES))

    def as_json(self) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in MEASURES}
        return found | {"cost_usd": self.cost_nano_usd / 1e9, "attempt_seconds": round(self.attempt_seconds, 3)}


MEASURES = tuple(field.name for field in fields(Totals))


def total(found: Iterable[Totals]) -> Totals:
    return sum(found, Totals())
