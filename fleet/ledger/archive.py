"""Closed days as Parquet files, each written once: what reports read, and what an auditor takes away."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, Engine, Select, func, select, update

from fleet.files import OWNER_ONLY, sync
from fleet.ledger.database import translated
from fleet.ledger.tables import days, entries, rollups
from fleet.model.errors import FleetError
from fleet.receipts.leaves import PUBLIC

PRIVATE = frozenset({"person", "body", "salt", "traceparent"})
"""Columns that never leave the database: an erasure destroys them, and a file that was copied cannot be erased."""

PORTION = 50_000
"""Rows in memory at once while a day is written."""

_TYPES = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_(), bytes: pa.binary()}

SCHEMA = pa.schema(
    [
        pa.field(column.name, _TYPES[column.type.python_type], nullable=bool(column.nullable))
        for column in entries.columns
        if column.name not in PRIVATE
    ]
)

LATER = frozenset(PUBLIC[PUBLIC.index("avoided_target") :])
"""Columns that files of older versions lack: null in all their rows. A later column goes to the end of `PUBLIC`."""


class DamagedArchive(FleetError):
    """A day's file is missing, is not the one whose hash the ledger holds, or cannot be made of the day's rows."""


def path_of(folder: Path, day: str, digest: str) -> Path:
    """Return the path of a day's file; with the hash in its name, another version of the day is another file."""
    return folder / f"{day}-{digest[:16]}.parquet"


def archive_closed_days(engine: Engine, folder: Path) -> list[str]:
    """Write every closed day that has no file yet, and return these days, oldest first.

    A day is closed once the ledger has a line of a later one: lines never go back to an earlier day. After a crash the
    day is written again, from the same rows.

    Raises: LedgerUnavailable; OSError if a file cannot be written; DamagedArchive if somebody has changed rows.
    """
    with translated(engine.url), engine.connect() as connection:
        waiting = list(connection.scalars(_waiting()))
    written, damaged = [], []
    for day in waiting:
        try:
            written += [day] * _archive(engine, folder, day)
        except DamagedArchive as error:  # the other days can be written all the same
            damaged.append(error)
    for each in damaged:
        raise each
    return written


def _waiting() -> Select[str]:
    """Select closed days without a file whose rows are all there: without some, a file would say less than the sums."""
    last = select(func.max(days.c.day)).scalar_subquery()
    lines = select(func.sum(rollups.c.lines)).where(rollups.c.day == days.c.day).scalar_subquery()
    of_day = entries.c.seq.between(days.c.first_seq, days.c.last_seq), entries.c.day == days.c.day
    rows = select(func.count()).select_from(entries).where(*of_day).correlate(days).scalar_subquery()
    is_waiting = days.c.day < last, days.c.parquet.is_(None), rows == lines
    return select(days.c.day).where(*is_waiting).order_by(days.c.day)


def _archive(engine: Engine, folder: Path, day: str) -> bool:
    """Write the day's file from its rows, once more where some were erased meanwhile.

    Return False if rows were deleted meanwhile: they may have been in no file.
    """
    while True:
        with translated(engine.url), engine.connect() as connection:
            before = _rows(connection, day)
            if before.count != before.size:
                return False
            if _put(engine, folder, day, batches(connection, day), None, partial(_has, day, before)):
                return True


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a day: `count` of `size` are there, and these erasures have changed some."""

    size: int
    count: int
    erasures: frozenset[str | None]


def _rows(connection: Connection, day: str) -> _Rows:
    known = connection.execute(select(days.c.first_seq, days.c.last_seq, days.c.size).where(days.c.day == day)).one()
    of_day = entries.c.seq.between(known.first_seq, known.last_seq)
    count = connection.scalar(select(func.count()).select_from(entries).where(of_day)) or 0
    erased = connection.scalars(select(entries.c.person).where(of_day, entries.c.body.is_(None)).distinct())
    return _Rows(known.size, count, frozenset(erased))


def _has(day: str, rows: _Rows, connection: Connection) -> bool:
    return _rows(connection, day) == rows


def _put(
    engine: Engine,
    folder: Path,
    day: str,
    found: Iterable[pa.RecordBatch],
    before: str | None,
    is_true_still: Callable[[Connection], bool] = lambda connection: True,
) -> bool:
    """Write a file in place of the one with the hash `before`, record its hash, and remove the files that came before.

    In this order the file that the ledger names is there after a crash at any moment. Return False, and leave all as it
    is, if the day has another file by now, or what was written is no longer true: what is erased must not come back.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f".{day}.{secrets.token_hex(8)}"
    try:
        digest = _written(made, found)
        path = made.replace(path_of(folder, day, digest))
        sync(folder)
    except FileNotFoundError:  # somebody else has recorded a file, and removed ours
        return False
    finally:
        made.unlink(missing_ok=True)
    is_recorded = _recorded(engine, day, digest, before, is_true_still)
    others = (*folder.glob(f"{day}-*.parquet"), *folder.glob(f".{day}.*"))  # the latter of a crash
    for doomed in [other for other in others if other != path] if is_recorded else [path]:
        doomed.unlink(missing_ok=True)
    return is_recorded


def _recorded(
    engine: Engine, day: str, digest: str, before: str | None, is_true_still: Callable[[Connection], bool]
) -> bool:
    """Record the hash of a day's file. Return False unless it is recorded now, by us or by somebody else."""
    ours = (days.c.day == day) & days.c.parquet.is_not_distinct_from(before)
    with translated(engine.url), engine.connect() as connection:
        # An erasure changes this row of `days` last: either it waits for us, or we see all of it.
        if connection.execute(update(days).where(ours).values(parquet=digest)).rowcount == 0:
            return bool(connection.scalar(select(days.c.parquet).where(days.c.day == day)) == digest)
        if not is_true_still(connection):
            return False
        connection.commit()
        return True


def read(folder: Path, day: str, digest: str, columns: Sequence[str]) -> pa.Table:
    """Return these columns of an archived day; an older version's file lacks some, which are null.

    Raises: DamagedArchive.
    """
    found = opened(folder, day, digest).read(list(columns))
    for name in set(columns) & LATER - set(found.column_names):
        found = found.append_column(SCHEMA.field(name), pa.nulls(len(found), SCHEMA.field(name).type))
    return found


def opened(folder: Path, day: str, digest: str) -> pq.ParquetFile:
    """Open an archived day.

    Raises: DamagedArchive unless the file is the one whose hash is `digest`.
    """
    path = path_of(folder, day, digest)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedArchive(f"the archive of {day}, {path}, cannot be read: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise DamagedArchive(f"{path} is not the archive of {day} that was written: its hash is another")
    return pq.ParquetFile(pa.BufferReader(data))


def rewrite(engine: Engine, folder: Path, tenant: str | None, name: str) -> None:
    """Write the files of days again whose rows were erased; with a `tenant`, also those that have no rows any more.

    `name` is what the tenant is called from now on. Raises: LedgerUnavailable, DamagedArchive, OSError.
    """
    archive_closed_days(engine, folder)
    if tenant is not None:
        rename_tenant(engine, folder, tenant, name)


def rename_tenant(engine: Engine, folder: Path, tenant: str, name: str) -> list[str]:
    """Put `name` in place of a tenant in every archived day, and numbers in place of its job ids; return these days.

    The tasks go as well: a tenant may have named them. Raises: LedgerUnavailable, DamagedArchive, OSError.
    """
    with translated(engine.url), engine.connect() as connection:
        archived = connection.scalars(select(days.c.day).where(days.c.parquet.is_not(None))).all()
    return [day for day in archived if _rename_in(engine, folder, day, tenant, name)]


def _rename_in(engine: Engine, folder: Path, day: str, tenant: str, name: str) -> bool:
    """Return whether the day's file named the tenant."""
    while True:
        with translated(engine.url), engine.connect() as connection:
            digest = connection.scalar(select(days.c.parquet).where(days.c.day == day))
        if digest is None:
            return False
        found = read(folder, day, digest, SCHEMA.names)
        if tenant not in found["tenant"].unique().to_pylist():
            return False
        if _put(engine, folder, day, _without(found, tenant, name).to_batches(PORTION), digest):
            return True


def _without(found: pa.Table, tenant: str, name: str) -> pa.Table:
    """Return the day without what names the tenant; the lines of a job stay together."""
    rows, first = found.to_pylist(), dict[str, int]()
    for row in rows:
        if row["tenant"] == tenant:
            number = first.setdefault(row["job_id"], row["seq"])
            row.update(tenant=name, job_id=f"erased-{number}", task=None)
    return pa.Table.from_pylist(rows, SCHEMA)


def batches(connection: Connection, day: str, columns: Sequence[str] = SCHEMA.names) -> Iterator[pa.RecordBatch]:
    """Yield a day's rows as its file holds them, from the database, in the order of the stream.

    Raises: DamagedArchive if a row has what no line can have.
    """
    known = connection.execute(select(days.c.first_seq, days.c.last_seq).where(days.c.day == day)).first()
    if known is None:
        return
    between = entries.c.seq.between(known.first_seq, known.last_seq)
    wanted = select(*(entries.c[name] for name in columns)).where(between, entries.c.day == day)
    schema = pa.schema([SCHEMA.field(name) for name in columns])
    found = connection.execute(wanted.order_by(entries.c.seq).execution_options(yield_per=PORTION))
    try:
        for rows in found.partitions():
            yield _batch(rows, schema)
    except (pa.ArrowException, TypeError, ValueError):
        raise DamagedArchive(f"{day} has a row that no line has made: `fleet ledger verify` names it") from None


def _batch(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(zip(*rows, strict=True), schema, strict=True)
    return pa.RecordBatch.from_arrays([pa.array(values, each.type) for values, each in columns], schema=schema)


def _written(path: Path, found: Iterable[pa.RecordBatch]) -> str:
    """Write a file that its owner alone may read, since it names tenants; return its hash."""
    path.touch(OWNER_ONLY)
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for batch in found:
            writer.write_batch(batch)
    sync(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
