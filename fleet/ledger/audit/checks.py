"""Checks one row of the ledger. Pure: each check has an answer to whatever a database gives back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fleet.ledger.rows import row_of
from fleet.model.result import LedgerLine
from fleet.receipts.leaves import commitment_of, leaf_of
from fleet.receipts.merkle import leaf_hash

Row = Mapping[str, Any]

FROM_THE_BODY = ("person", "task", "traceparent")
"""The columns that no leaf covers and that the body says. Tenant, job and line are covered by the commitment."""

_BOOLEANS = {0: False, 1: True}


def as_written(row: Row) -> dict[str, Any]:
    """Return a row as the writer had it: SQLite has no booleans, and gives their numbers back."""
    repeated = row["repeated"]
    known = isinstance(repeated, int) and repeated in _BOOLEANS
    return {**row, "repeated": _BOOLEANS[repeated] if known else repeated}


def faults_in(row: Row) -> Iterator[str]:
    """Yield everything that is wrong with a row."""
    try:
        if leaf_hash(leaf_of(row)) != row["leaf"]:
            yield "its columns are not those of its leaf"
        yield from _erased(row) if row["body"] is None else _kept(row)
    except (TypeError, ValueError, AttributeError):  # a value of another kind, or text that is no Unicode
        yield "it holds what no line can hold"


def _kept(row: Row) -> Iterator[str]:
    if commitment_of(row["salt"], row, row["body"]) != row["commitment"]:
        yield "its tenant, job, line, salt or bytes are not those it was written with"
    line = LedgerLine(row["seq"], row["at"], row["tenant"], None, row["body"])
    said = row_of(line, row["at"], row["salt"])
    for name in FROM_THE_BODY:
        if row[name] != said[name]:
            yield f"its {name} is not that of its bytes"


def _erased(row: Row) -> Iterator[str]:
    """Check what an erasure leaves: constants, the tenant's name, and `person`, which names the erasure."""
    for name in ("task", "traceparent", "salt"):
        if row[name] is not None:
            yield f"it is erased, and has a {name}"
    if row["job_id"] != erased_job(row["seq"]):
        yield "it is erased, and has a job"
    if row["person"] is None:
        yield "it is erased, and no erasure is named"


def erased_job(seq: int | str) -> str:
    """Return what stands for the job of an erased row."""
    return f"erased-{seq}"
