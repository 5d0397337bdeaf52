"""The sums of a day that its rows add up to, compared with those that the ledger keeps. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fleet.ledger.audit.checks import Row
from fleet.ledger.rows import sums_of
from fleet.ledger.tables import GROUPS, SUMS

Key = tuple[Any, ...]

NameOf = Callable[[Any], Any]


def as_it_is(tenant: Any) -> Any:
    return tenant


class RowSums:
    """Adds up rows. `name_of` gives the tenant's name under which sums are compared."""

    def __init__(self, name_of: NameOf = as_it_is) -> None:
        self._name_of = name_of
        self._found: dict[Key, list[Any]] = {}

    def add(self, row: Row) -> None:
        for each in sums_of([dict(row)]):
            self._add(self._found, each)

    def _add(self, found: dict[Key, list[Any]], row: Mapping[str, Any]) -> None:
        key = tuple(self._name_of(row[name]) if name == "tenant" else row[name] for name in GROUPS)
        sums = [row[name] for name in SUMS]  # which may be no numbers, where somebody has changed them
        found[key] = [one + other for one, other in zip(found[key], sums, strict=True)] if key in found else sums

    def differences(self, stored: Iterable[Mapping[str, Any]]) -> Iterator[str]:
        """Yield each group, in words, whose sums in the rows of `rollups` are others."""
        kept: dict[Key, list[Any]] = {}
        for row in stored:
            self._add(kept, row)
        for key in sorted({*kept, *self._found}, key=str):
            if kept.get(key) != self._found.get(key):
                pairs = zip(GROUPS[1:], key[1:], strict=True)
                yield ", ".join(f"{name} {value}" for name, value in pairs if value) or "all else"
