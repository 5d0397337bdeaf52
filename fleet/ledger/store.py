"""Writes lines to the database: each batch in one transaction with all that follows from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Engine, Table, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from fleet.ledger.audit import log
from fleet.ledger.database import POSTGRESQL, migrate, translated
from fleet.ledger.locks import LockName, lock_on
from fleet.ledger.rows import Row, day_of, row_of, sums_of, time_of
from fleet.ledger.tables import GROUPS, SUMS, days, entries, rollups, state
from fleet.model.errors import LedgerUnavailable
from fleet.model.result import LedgerLine, LedgerStream

SALT_BYTES = 16

DELETED_AT_ONCE = 5_000
"""Rows that one transaction of retention deletes: the lines that come meanwhile wait for it."""

_NOTHING = {"unreadable": 0, "duplicates": 0, "missed": 0}

_COLUMNS = tuple(column.name for column in entries.c)

_values = itemgetter(*_COLUMNS)

_POSITION = select(state.c.stream, state.c.last_seq, state.c.last_at, state.c.ahead, state.c.last_mark, state.c.missed)


class AnotherWriter(LedgerUnavailable):
    """Somebody else has written to the database since this writer read where it was."""


@dataclass(frozen=True, slots=True)
class Position:
    """The position of the database: it has every line of `stream` up to `last_sequence`, whose time is `last_at`.

    The number of a row is its line's and `ahead`. `last_mark` tells the last line from others of its number. `missed`
    counts the lines that streams lost before they were written.
    """

    stream: str = ""
    last_sequence: int = 0
    last_at: float = 0.0
    ahead: int = 0
    last_mark: bytes = b""
    missed: int = 0


class LedgerStore:
    """The database from the side of its one writer. Every method raises LedgerUnavailable; then nothing was written.

    After an error `open` has to be called again: the database alone knows where it is. `now` gives unix seconds.
    `signing` signs the days, which stay unsigned without it.
    """

    def __init__(self, engine: Engine, now: Callable[[], float], signing: log.Signing | None = None) -> None:
        self._engine = engine
        self._now = now
        self._signing = signing
        self._insert = _copied if engine.dialect.name == POSTGRESQL else _inserted
        self._position = Position()
        self._lock = lock_on(engine, LockName.WRITER)

    def claim(self) -> bool:
        """Be the one writer, or see that we still are; return False while another process is."""
        return self._lock.claim()

    def release(self) -> None:
        """Let another process be the writer."""
        self._lock.release()

    @property
    def position(self) -> Position:
        """The position when it was last asked or written."""
        return self._position

    def open(self) -> Position:
        """Make or migrate the tables, and return how far the database is."""
        migrate(self._engine)
        with translated(self._engine.url), self._engine.connect() as connection:
            row = connection.execute(_POSITION).one()
        self._position = Position(*row)
        return self._position

    def follow(self, stream: LedgerStream) -> int:
        """Note which stream the lines come from; return how many of its lines were gone before they were written.

        Raises: LedgerUnavailable if the database is that of another stream.
        """
        position = self._position
        is_same = position.stream in ("", stream.made_at)
        is_begun = position.last_sequence > 0
        if not is_same and is_begun and stream.first_sequence <= position.last_sequence:
            # Streams are numbered by the time when they were made: one that was made again has higher numbers.
            raise LedgerUnavailable(
                f"the database has line {position.last_sequence}, and this stream begins with {stream.first_sequence}: "
                "this is the database of another stream; name another one, or `fleet ledger replay` writes it again"
            )
        missed = max(0, stream.first_sequence - position.last_sequence - 1) if is_same and is_begun else 0
        if missed or position.stream != stream.made_at:
            with translated(self._engine.url), self._engine.begin() as connection:
                values = {"stream": stream.made_at, "missed": state.c.missed + missed}
                connection.execute(update(state).values(values))
            self._position = replace(position, stream=stream.made_at, missed=position.missed + missed)
        return missed

    def has(self, line: LedgerLine | None) -> bool:
        """Return whether this line, which the stream has under the last number written, is the one written."""
        return self._position.last_mark in (b"", None if line is None else _mark(line))

    def rewind(self, sequence: int) -> None:
        """Go on with this line of a stream that has gone back: its rows are numbered behind those that are there."""
        position = self._position
        ahead = position.ahead + position.last_sequence - (sequence - 1)
        moved = replace(position, last_sequence=sequence - 1, ahead=ahead, last_mark=b"")
        with translated(self._engine.url), self._engine.begin() as connection:
            self._advance(connection, moved)
        self._position = moved

    def write(self, lines: Sequence[LedgerLine]) -> int:
        """Write lines (at least one, in order) behind what is there; return how many were new."""
        rows = self._rows(lines)
        last = lines[-1]
        position = replace(self._position, last_sequence=last.sequence, last_at=rows[-1]["at"], last_mark=_mark(last))
        with translated(self._engine.url), self._engine.begin() as connection:
            self._advance(connection, position)
            new = self._new_rows(connection, rows)
            add_sums(connection, sums_of(new))
            log.append(connection, new, self._signing)
            _count(connection, new, len(rows) - len(new))
        self._position = position
        return len(new)

    def _rows(self, lines: Sequence[LedgerLine]) -> list[Row]:
        at, now, salts, rows = self._position.last_at, self._now(), os.urandom(SALT_BYTES * len(lines)), []
        if ahead := self._position.ahead:
            lines = [replace(line, sequence=line.sequence + ahead) for line in lines]
        for index, line in enumerate(lines):
            at = time_of(line, at, now)
            salt = salts[index * SALT_BYTES : (index + 1) * SALT_BYTES]
            rows.append(row_of(line, at, salt))
        return rows

    def _advance(self, connection: Connection, position: Position) -> None:
        """Move on, if nobody else has since we looked; whoever comes second waits here, and is told.

        The first statement of the transaction, so that SQLite's lock is taken before anything is read.
        """
        before = self._position
        ours = (state.c.last_seq == before.last_sequence) & (state.c.ahead == before.ahead)
        values = {
            "last_seq": position.last_sequence,
            "last_at": position.last_at,
            "ahead": position.ahead,
            "last_mark": position.last_mark,
        }
        if connection.execute(update(state).where(ours).values(values)).rowcount != 1:
            raise AnotherWriter("another process writes to this database: one `fleet ledger run` is enough")

    def _new_rows(self, connection: Connection, rows: list[Row]) -> list[Row]:
        """Insert rows and return those that were not there: a line repeated after a long time has another number."""
        if self._insert(connection, rows) == len(rows):
            return rows
        between = entries.c.seq.between(rows[0]["seq"], rows[-1]["seq"])
        there = set(connection.scalars(select(entries.c.seq).where(between)))
        return [row for row in rows if row["seq"] in there]

    def empty(self, first_sequence: int, discard: bool) -> None:
        """Delete everything, so that all is written again from line `first_sequence` of the stream.

        Raises: LedgerUnavailable if that would lose something, unless `discard` says that it may.
        """
        ahead = self._position.ahead
        with translated(self._engine.url), self._engine.begin() as connection:
            first = connection.scalar(select(func.min(entries.c.seq)))
            signed = connection.scalar(select(func.count(days.c.checkpoint)))
            lost = [f"lines before {first_sequence}"] if first is not None and first - ahead < first_sequence else []
            lost += [f"{signed} signed checkpoints"] if signed else []
            if lost and not discard:
                raise LedgerUnavailable(f"the stream cannot give back {' and '.join(lost)}: --discard gives them up")
            for table in (entries, rollups, days):
                connection.execute(delete(table))
            connection.execute(
                update(state).values(stream="", last_seq=0, last_at=0.0, ahead=0, last_mark=b"", **_NOTHING)
            )
        self._position = Position()

    def forget(self, before: str) -> int:
        """Delete some of the oldest rows of days before this one; return how many, 0 when none is left.

        What is said of a day stays, and so do its sums.
        """
        bound = select(func.max(days.c.last_seq)).where(days.c.day < before).scalar_subquery()
        doomed = select(entries.c.seq).where(entries.c.seq <= bound).order_by(entries.c.seq).limit(DELETED_AT_ONCE)
        with translated(self._engine.url), self._engine.begin() as connection:
            last = connection.scalar(select(func.max(doomed.subquery().c.seq)))
            if last is None:
                return 0
            return connection.execute(delete(entries).where(entries.c.seq <= last)).rowcount


def _mark(line: LedgerLine) -> bytes:
    return sha256(repr((line.tenant, line.message_id)).encode() + line.data).digest()


def _inserted(connection: Connection, rows: Sequence[Row]) -> int:
    """Insert rows by the driver's own means, which take a quarter of SQLAlchemy's time; return how many were new."""
    marks = ", ".join("?" * len(_COLUMNS))
    text = f"INSERT INTO entries ({', '.join(_COLUMNS)}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608
    return connection.exec_driver_sql(text, list(map(_values, rows))).rowcount


def _copied(connection: Connection, rows: Sequence[Row]) -> int:
    """Insert rows by way of COPY, which knows no conflicts, into a table of this session; return how many were new."""
    names = ", ".join(_COLUMNS)
    connection.exec_driver_sql(
        "CREATE TEMPORARY TABLE IF NOT EXISTS arrived (LIKE entries INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
    )
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY arrived ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(_values(row))
    moved = f"INSERT INTO entries ({names}) SELECT {names} FROM arrived ORDER BY seq ON CONFLICT DO NOTHING"  # noqa: S608
    return connection.exec_driver_sql(moved).rowcount


def add_sums(connection: Connection, sums: Sequence[Row]) -> None:
    """Add to the rollups what `sums_of` returned."""
    insert = _insert_into(connection, rollups)
    added = {name: rollups.c[name] + insert.excluded[name] for name in SUMS}
    if sums:
        connection.execute(insert.on_conflict_do_update(index_elements=list(GROUPS), set_=added), sums)


def _count(connection: Connection, rows: Sequence[Row], duplicates: int) -> None:
    unreadable = sum(row["reason"] is None for row in rows)
    if unreadable or duplicates:
        more = {"unreadable": state.c.unreadable + unreadable, "duplicates": state.c.duplicates + duplicates}
        connection.execute(update(state).values(more))


def _insert_into(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that knows what to do in a conflict; both databases say it in the same words."""
    return postgresql.insert(table) if connection.dialect.name == POSTGRESQL else sqlite.insert(table)


def first_day_kept(now: float, keep_days: int) -> str:
    """Return the first day of which rows are kept, where those of today and of `keep_days` days before are."""
    return day_of(now - keep_days * 86_400)
