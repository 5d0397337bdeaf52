"""Checks the Parquet file of a closed day, which reports read: against the day's rows, or the log and the sums."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fleet.ledger import archive
from fleet.ledger.archive import DamagedArchive
from fleet.ledger.audit.checks import Row
from fleet.ledger.audit.erase import ERASED
from fleet.ledger.audit.log import Day, frontier_of
from fleet.ledger.audit.sums import RowSums
from fleet.ledger.tables import days, rollups
from fleet.receipts.leaves import leaf_of
from fleet.receipts.merkle import Frontier, leaf_hash

Fault = tuple[str, int | None]
"""The fault in a file, and the number of its row, where one alone is to blame."""

PORTION = 2000
"""Rows in memory at once."""


class ArchiveCheck:
    """Checks files of `folder`; `connection` sees the database at the moment that is verified."""

    def __init__(self, engine: Engine, connection: Connection, folder: Path) -> None:
        self._engine = engine
        self._connection = connection
        self._folder = folder

    def faults(self, day: Day, start: Frontier, rows_kept: int) -> Iterator[Fault]:
        """Yield what is wrong with the file of a day, of which the database has `rows_kept` rows, none of them faulty.

        `start` is the log before the day.
        """
        try:
            file = archive.opened(self._folder, day["day"], str(day["parquet"]))
            if rows_kept == day["size"]:
                yield from self._against_rows(day, _rows(file))
            else:
                yield from self._against_log(day, start, _rows(file))
            if rows_kept == 0:
                yield from self._against_sums(day, _rows(file))
        except DamagedArchive as error:
            if not self._was_replaced(day):
                yield str(error), None
        except (pa.ArrowException, TypeError, ValueError, KeyError, AttributeError):  # it was never written by a ledger
            yield "its archive holds what no day can hold", None

    def _was_replaced(self, day: Day) -> bool:
        """Return whether somebody has written another file meanwhile, as an erasure does."""
        with self._engine.connect() as connection:
            now = connection.scalar(sa.select(days.c.parquet).where(days.c.day == day["day"]))
        return bool(now != day["parquet"])

    def _against_rows(self, day: Day, filed: Iterable[Row]) -> Iterator[Fault]:
        kept = _each(archive.batches(self._connection, day["day"]))
        for ours, theirs in zip_longest(kept, filed):
            if ours != theirs:
                yield "in its archive it is another, or missing", int((ours or theirs)["seq"])
                return  # all that follow may have moved

    def _against_log(self, day: Day, start: Frontier, filed: Iterable[Row]) -> Iterator[Fault]:
        leaves = []
        for row in filed:
            leaves.append(row["leaf"])
            if leaf_hash(leaf_of(row)) != row["leaf"]:
                yield "in its archive its columns are not those of its leaf", row["seq"]
                return
        if start.appended(leaves) != frontier_of(day):
            yield f"the {len(leaves)} rows of its archive are not the {day['size']} of the log", None

    def _against_sums(self, day: Day, filed: Iterable[Row]) -> Iterator[Fault]:
        """Compare the tenants and tasks of rows that are no longer kept: no leaf covers them.

        An erasure that was repeated after a crash may have given the file another name than the sums.
        """
        sums = RowSums(lambda tenant: ERASED if tenant.startswith(ERASED) else tenant)
        for row in filed:
            sums.add(row)
        stored = self._connection.execute(sa.select(rollups).where(rollups.c.day == day["day"])).mappings()
        for group in sums.differences(map(dict, stored)):
            yield f"its sums are not those of its archive: {group}", None


def _rows(file: pq.ParquetFile) -> Iterator[dict[str, Any]]:
    absent = dict.fromkeys(archive.LATER)
    return (absent | row for row in _each(file.iter_batches(PORTION)))


def _each(found: Iterable[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    return (row for batch in found for row in batch.to_pylist())
