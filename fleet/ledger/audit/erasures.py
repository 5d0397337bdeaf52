"""Records of erasures: lines of the ledger like any other, which say how many rows were erased and which.

A record names neither tenant nor person. It is found by its job, the erasure's id, which is `person` in each row that
was erased.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from pydantic_core import from_json

from fleet.ledger.audit.checks import Row
from fleet.model.erasure import ERASURE, Erasure


@dataclass(slots=True)
class _Erased:
    """The rows of one erasure that have been seen so far."""

    tenant: str
    first: int
    last: int = 0
    rows: int = 0
    digest: Any = field(default_factory=sha256)

    def add(self, seq: int) -> None:
        self.rows, self.last = self.rows + 1, seq
        self.digest.update(b"%d\n" % seq)


class Erasures:
    """Collects erased rows and records of erasures, in the order of the log, and compares them at the end."""

    def __init__(self) -> None:
        self._erased: dict[tuple[str, str], _Erased] = {}
        self._records: dict[tuple[str, str], tuple[int, Erasure]] = {}

    def add(self, row: Row) -> None:
        if row["body"] is None:
            key = (str(row["person"]), str(row["tenant"]))
            self._erased.setdefault(key, _Erased(key[1], row["seq"])).add(row["seq"])
        elif row["line"] == ERASURE and (record := record_in(row)) is not None:
            self._records[record.id, record.tenant] = row["seq"], record

    def made(self) -> list[Erasure]:
        """Return what each erasure did, by the rows that it left."""
        return [
            Erasure(erasure, each.tenant, each.rows, each.first, each.last, each.digest.hexdigest())
            for (erasure, _), each in self._erased.items()
        ]

    def without_record(self) -> list[Erasure]:
        return [each for each in self.made() if (each.id, each.tenant) not in self._records]

    def faults(self, oldest_seq: int) -> Iterator[tuple[int, str]]:
        """Yield the number and the fault of rows that are erased without a record, and of records that do not match.

        Rows before `oldest_seq` are no longer kept, so records that reach before it cannot be compared.
        """
        made = {(each.id, each.tenant): each for each in self.made()}
        for each in self.without_record():
            yield each.first, f"{each.rows} rows up to {each.last} are erased, and no record says so"
        for key, (seq, record) in self._records.items():
            if record.first >= oldest_seq and made.get(key) != record:
                found = 0 if key not in made else made[key].rows
                yield seq, f"the record says that {record.rows} rows were erased, and {found} are, or others"


def record_in(row: Row) -> Erasure | None:
    """Return the erasure that a record's bytes hold, or None."""
    try:
        said: Mapping[str, Any] = from_json(row["body"])[ERASURE]
        return Erasure(row["job_id"], row["tenant"], said["rows"], said["first"], said["last"], said["digest"])
    except (ValueError, TypeError, KeyError):
        return None
