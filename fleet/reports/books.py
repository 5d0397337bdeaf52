"""The books that reports read: Parquet for days that have been archived, the database for the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine

from fleet.ledger import archive
from fleet.ledger.database import check_migrated, database_url, engine_for, translated
from fleet.ledger.reading import LedgerReader
from fleet.ledger.rows import MAX_SECONDS
from fleet.ledger.tables import GROUPS, TOKENS
from fleet.model.target import WITHOUT_CALL
from fleet.reports.periods import Period
from fleet.reports.totals import MEASURES, Totals

DIMENSIONS = GROUPS
"""What the sums of a day are kept by."""

Keys = tuple[str | None, ...]
"""A value for each dimension of a report; None where lines have none."""

_COUNTED = ("tenant", "status", "attempt", "target", "failure", "started_at", "ended_at", "cost_nano_usd", *TOKENS)


@dataclass(frozen=True, slots=True)
class Book:
    """A day of the ledger. `digest` is the hash of its Parquet file; None: it is in the database alone."""

    day: str
    digest: str | None


class ReportBooks:
    """Reads the ledger day by day, and never more than a day at once. Every method raises LedgerUnavailable."""

    def __init__(self, engine: Engine, folder: Path, tenant: str | None = None) -> None:
        """Read every tenant's lines, or those of `tenant` alone; `folder` holds the Parquet files."""
        self._engine = engine
        self._reader = LedgerReader(engine)
        self._folder = folder
        self._tenant = tenant

    def of(self, period: Period) -> list[Book]:
        """Return the days of the period that the ledger has, oldest first."""
        found = self._reader.days()
        return [Book(each.day, each.parquet) for each in found if period.since <= each.day <= period.until]

    def lines(self, book: Book, columns: Sequence[str]) -> pa.Table:
        """Return these columns of the day's lines. Raises: DamagedArchive."""
        wanted = tuple(dict.fromkeys((*columns, "tenant")))
        if book.digest is not None:
            found = archive.read(self._folder, book.day, book.digest, wanted)
        else:
            schema = pa.schema([archive.SCHEMA.field(name) for name in wanted])
            with translated(self._engine.url), self._engine.connect() as connection:
                found = pa.Table.from_batches(archive.batches(connection, book.day, wanted), schema)
        return found if self._tenant is None else found.filter(pc.equal(found["tenant"], self._tenant))

    def gone(self, book: Book, found: pa.Table) -> int:
        """Return how many of the day's lines were deleted from the database before they were archived."""
        return 0 if book.digest is not None else sum(each.lines for _, each in self.sums(book, ("day",))) - len(found)

    def sums(self, book: Book, by: Sequence[str]) -> Iterator[tuple[Keys, Totals]]:
        """Yield the day's totals by some of DIMENSIONS; a group may come more than once. Raises: DamagedArchive.

        A day that is not archived may be long: its sums are those that the ledger's writer keeps beside the lines.
        """
        if book.digest is not None:
            yield from grouped(self.lines(book, tuple(dict.fromkeys((*by, *_COUNTED)))), by)
            return
        for each in self._reader.attempt_sums(tuple(dict.fromkeys((*by, "tenant"))), book.day, book.day):
            if self._tenant in (None, each.group["tenant"]):
                yield (
                    tuple(each.group[name] or None for name in by),
                    Totals(*(getattr(each, name) for name in MEASURES)),
                )


def grouped(lines: pa.Table, by: Sequence[str]) -> Iterator[tuple[Keys, Totals]]:
    """Yield the totals of each group of these lines."""
    seconds = pc.subtract(lines["ended_at"], lines["started_at"])
    counted = {
        "lines": _is_there(lines["tenant"]),
        "attempts": pc.cast(_is_call(lines), pa.int64()),
        "jobs": _is_there(lines["status"]),
        "failures": _is_there(lines["failure"]),
        "attempt_seconds": pc.if_else(pc.less_equal(seconds, MAX_SECONDS), pc.max_element_wise(seconds, 0.0), 0.0),
    }
    measured = pa.table({name: lines[name] for name in (*by, "cost_nano_usd", *TOKENS)} | counted)
    found = measured.group_by(list(by)).aggregate([(name, "sum") for name in MEASURES])
    columns = [found[name].to_pylist() for name in (*by, *(f"{name}_sum" for name in MEASURES))]
    for row in zip(*columns, strict=True):
        # A group without any call has no sum of what only calls have.
        yield tuple(key or None for key in row[: len(by)]), Totals(*(value or 0 for value in row[len(by) :]))


def _is_call(lines: pa.Table) -> pa.ChunkedArray:
    is_known = pc.is_in(lines["target"], pa.array(sorted(WITHOUT_CALL)))
    return pc.and_(pc.is_valid(lines["attempt"]), pc.invert(is_known))


def _is_there(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(pc.is_valid(column), pa.int64())


@contextmanager
def open_books(url: str, folder: Path, tenant: str | None = None) -> Iterator[ReportBooks]:
    """Open the books in this database and this folder of Parquet files.

    Raises: LedgerUnavailable if there is no database of this version; ConfigError if its address is wrong.
    """
    engine = engine_for(database_url(url))
    try:
        check_migrated(engine)
        yield ReportBooks(engine, folder, tenant)
    finally:
        engine.dispose()
