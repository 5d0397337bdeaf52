"""Verifies the ledger: every row against its leaf and its own bytes, every day against the log, every checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fleet.ledger.audit.archived import ArchiveCheck
from fleet.ledger.audit.checks import Row, as_written, faults_in
from fleet.ledger.audit.erasures import Erasures
from fleet.ledger.audit.log import Day, frontier_of, snapshot
from fleet.ledger.audit.sums import RowSums
from fleet.ledger.database import SQLITE, translated
from fleet.ledger.tables import days, entries, rollups, state
from fleet.receipts.leaves import genesis, origin_of
from fleet.receipts.merkle import Frontier
from fleet.receipts.notes import Checkpoint, VerifierKey, text_of

PORTION = 2000
"""Rows in memory at once."""

MOST_NAMED = 20
"""Faulty rows of a day that are named one by one."""


class Seal(StrEnum):
    """The evidence for a day: a signature that was checked, one that was not, none, or nothing yet."""

    SIGNED = "signed"
    NOT_CHECKED = "signed, not checked"
    UNSIGNED = "unsigned"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class LedgerFault:
    """Something in the ledger is not as it was written. `seq` names the row, where one alone is to blame."""

    day: str
    what: str
    seq: int | None = None


@dataclass(slots=True)
class DayReport:
    """The findings of a day. `deleted`: its rows are no longer kept, and its root alone vouches for them.

    `file_unchecked`: it has a file in the archive, which was not looked at.
    """

    day: str
    seal: Seal
    rows: int = 0
    erased: int = 0
    deleted: bool = False
    file_unchecked: bool = False
    faults: list[LedgerFault] = field(default_factory=list)
    unnamed: int = 0

    def blame(self, what: str, seq: int | None = None) -> None:
        if seq is not None and sum(each.seq is not None for each in self.faults) >= MOST_NAMED:
            self.unnamed += 1
        else:
            self.faults.append(LedgerFault(self.day, what, seq))


def verify(
    engine: Engine, name: str, key: VerifierKey | None, first_kept: str | None, archive: Path | None = None
) -> Iterator[DayReport]:
    """Yield a report for each day, oldest first, and at last one of what no single day is to blame for.

    `name` is the first part of the log's origin. Without a key the signatures are not checked, and without the folder
    `archive` the files of closed days are not; reports say so. Rows of days before `first_kept` may be gone.

    Raises: LedgerUnavailable.
    """
    with translated(engine.url), snapshot(engine) as connection, _reading_anything(connection):
        files = None if archive is None else ArchiveCheck(engine, connection, archive)
        yield from _Verifier(connection, name, key, first_kept or "", files).reports()


class _Verifier:
    def __init__(
        self, connection: Connection, name: str, key: VerifierKey | None, first_kept: str, files: ArchiveCheck | None
    ) -> None:
        self._connection = connection
        self._files = files
        self._name = name
        self._key = key
        self._first_kept = first_kept
        self._erasures = Erasures()
        self._last_seq = 0
        self._oldest_seq: int | None = None

    def reports(self) -> Iterator[DayReport]:
        found = [dict(day) for day in self._connection.execute(_raw(days).order_by(days.c.day)).mappings()]
        identity = found[0]["previous"] if found and isinstance(found[0]["previous"], bytes) else b""
        before, root = genesis(identity), None
        for day in found:
            report = self._day(day, before, root, identity)
            if day["root"] is None and day is not found[-1]:
                report.blame("it was never closed, and there is a later day")
            yield report
            before, root = _stored(day) or before, day["root"]
        yield self._whole(found)

    def _day(self, day: Day, start: Frontier, root: bytes | None, identity: bytes) -> DayReport:
        report = DayReport(day["day"], Seal.OPEN)
        leaves, seqs, sums = [], [], RowSums()
        is_oldest = self._oldest_seq is None
        for row in self._rows(day):
            self._check_row(row, day, report, sums)
            leaves.append(row["leaf"])
            seqs.append(row["seq"])
        self._last_seq = max(self._last_seq, _whole_number(day["last_seq"]))
        if is_oldest and seqs[:1] != [day["first_seq"]]:
            self._note_deleted(report)
        if not report.deleted and [*seqs[:1], *seqs[-1:]] != [day["first_seq"], day["last_seq"]]:
            report.blame("its first or last row is not the one noted")
        self._check_tree(day, report, start, root, leaves)
        self._check_seal(day, report, identity)
        if not report.deleted and not any(each.seq is not None for each in report.faults):
            self._check_rollups(day, report, sums)
        self._check_file(day, report, start)
        return report

    def _note_deleted(self, report: DayReport) -> None:
        """Note that the day's first rows are gone: by retention, or not."""
        report.deleted = report.day < self._first_kept
        if not report.deleted:
            report.blame("its first rows are gone, though they should still be kept")

    def _rows(self, day: Day) -> Iterator[Row]:
        """Yield the rows after the last day's up to this day's last."""
        wanted = _raw(entries).where(entries.c.seq > self._last_seq, entries.c.seq <= day["last_seq"])
        ordered = wanted.order_by(entries.c.seq).execution_options(yield_per=PORTION)
        return (as_written(dict(row)) for row in self._connection.execute(ordered).mappings())

    def _check_row(self, row: Row, day: Day, report: DayReport, sums: RowSums) -> None:
        self._oldest_seq = row["seq"] if self._oldest_seq is None else self._oldest_seq
        report.rows += 1
        report.erased += row["body"] is None
        faults = [*faults_in(row)]
        if row["day"] != day["day"]:
            faults.append(f"it says that it is of {row['day']}")
        for what in faults:
            report.blame(what, row["seq"])
        if not faults:
            self._erasures.add(row)
            sums.add(row)

    def _check_tree(
        self, day: Day, report: DayReport, start: Frontier, root: bytes | None, leaves: list[bytes]
    ) -> None:
        if root is not None and day["previous"] != root:
            report.blame("the root of the day before is not the one noted")
        stored = _stored(day)
        if stored is None:
            report.blame("its place in the log cannot be read")
            return
        if stored.size - start.size != day["size"]:
            report.blame(f"its size is noted as {day['size']}, and in the log it has {stored.size - start.size} lines")
        elif not report.deleted and _grown(start, leaves) != stored:
            report.blame(
                f"its {len(leaves)} rows are not the {day['size']} of the log: some were changed, added or removed"
            )
        if day["root"] is not None and day["root"] != stored.root:
            report.blame("its root is not that of its frontier")

    def _check_seal(self, day: Day, report: DayReport, identity: bytes) -> None:
        if day["root"] is None:
            if day["checkpoint"] is not None:
                report.blame("it is open, and has a checkpoint")
            return
        if day["checkpoint"] is None:
            report.seal = Seal.UNSIGNED
            return
        report.seal = Seal.NOT_CHECKED if self._key is None else Seal.SIGNED
        try:
            text = text_of(day["checkpoint"]) if self._key is None else self._key.opened(day["checkpoint"])
            if Checkpoint.parsed(text) != Checkpoint(
                origin_of(self._name, identity), frontier_of(day).size, day["root"]
            ):
                report.blame("its checkpoint is about another log, size or root")
        except (ValueError, TypeError, AttributeError) as error:
            report.blame(f"its checkpoint: {error}")

    def _check_rollups(self, day: Day, report: DayReport, sums: RowSums) -> None:
        stored = self._connection.execute(_raw(rollups).where(rollups.c.day == day["day"])).mappings()
        for group in sums.differences(map(dict, stored)):
            report.blame(f"its sums are not those of its rows: {group}")

    def _check_file(self, day: Day, report: DayReport, start: Frontier) -> None:
        """Check the file that reports read instead of the rows; where the day itself is faulty, that has to do."""
        if day["parquet"] is None or report.faults:
            return
        report.file_unchecked = self._files is None
        if day["root"] is None:
            report.blame("it is open, and has a file in the archive")
        elif self._files is not None:
            for what, seq in self._files.faults(day, start, report.rows):
                report.blame(what, seq)

    def _whole(self, found: list[dict[str, Any]]) -> DayReport:
        """Return what concerns more than one day."""
        report = DayReport("", Seal.OPEN)
        beyond = sa.select(entries.c.seq).where(entries.c.seq > self._last_seq).order_by(entries.c.seq)
        for seq in self._connection.scalars(beyond.limit(MOST_NAMED + 1)):
            report.blame("it is in no day of the log", seq)
        noted = self._connection.scalar(sa.select(state.c.last_seq + state.c.ahead))
        if noted is None or noted < self._last_seq:
            report.blame(f"the writer's note of the last line says {noted}, and there is line {self._last_seq}")
        for seq, what in self._erasures.faults(self._oldest_seq or 0):
            report.blame(what, seq)
        known = [day["day"] for day in found]
        stray = sa.select(rollups.c.day).where(rollups.c.day.not_in(known)).distinct()
        for day in self._connection.scalars(stray):
            report.blame(f"there are sums of {day}, which is no day of the log")
        for what in _damage(self._connection):
            report.blame(what)
        return report


def _grown(start: Frontier, leaves: list[bytes]) -> Frontier | None:
    try:
        return start.appended(leaves)
    except TypeError:  # a leaf that is no bytes; its row is blamed
        return None


def _stored(day: Mapping[str, Any]) -> Frontier | None:
    try:
        return frontier_of(day)
    except (ValueError, TypeError, AttributeError):
        return None


def _whole_number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _raw(table: sa.Table) -> Any:
    """Select every column as the driver gives it: a value of another kind must reach the check that finds it."""
    return sa.select(*(sa.type_coerce(column, sa.types.NullType()).label(column.name) for column in table.columns))


@contextmanager
def _reading_anything(connection: Connection) -> Iterator[None]:
    """Let SQLite give back text that is no Unicode, meanwhile; PostgreSQL stores none."""
    if connection.dialect.name != SQLITE:
        yield
        return
    driver: Any = connection.connection.dbapi_connection
    driver.text_factory = lambda data: data.decode(errors="surrogateescape")
    try:
        yield
    finally:
        driver.text_factory = str


def _damage(connection: Connection) -> Iterator[str]:
    """Yield what SQLite itself finds wrong with its file: an index that misses a row, say."""
    if connection.dialect.name == SQLITE:
        for line in connection.exec_driver_sql("PRAGMA integrity_check").scalars():
            if line != "ok":
                yield f"the database's file: {line}"
