"""Erases a tenant's or a person's part of the ledger: what stays says what was spent, and not on whom."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fleet.ledger.audit.checks import erased_job
from fleet.ledger.audit.erasures import Erasures
from fleet.ledger.database import SQLITE, translated
from fleet.ledger.rows import sums_of
from fleet.ledger.store import add_sums
from fleet.ledger.tables import SUMS, days, entries, rollups, state
from fleet.model.erasure import ERASURE, Erasure

PORTION = 1000
"""Rows in memory at once."""

ERASED = "erased-"
"""The beginning of an erasure's id, and so of an erased tenant's name."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose lines are meant: all of a tenant, or those about a person, of one tenant or of all."""

    tenant: str | None = None
    person: str | None = None

    @property
    def condition(self) -> sa.ColumnElement[bool]:
        """The rows that are meant. Those of a tenant include what earlier erasures of persons have left of it."""
        named = [
            entries.c[name] == value
            for name, value in (("tenant", self.tenant), ("person", self.person))
            if value is not None
        ]
        return sa.and_(*named)


@dataclass(frozen=True, slots=True)
class LineToErase:
    """A line that is to be erased: its number in the stream and the job it belongs to."""

    seq: int
    tenant: str
    job_id: str


def lines_of(engine: Engine, subject: Subject) -> list[LineToErase]:
    """Return the lines about the subject, in their order. Raises: LedgerUnavailable."""
    wanted = sa.select(entries.c.seq, entries.c.tenant, entries.c.job_id).where(subject.condition)
    with translated(engine.url), engine.connect() as connection:
        return [LineToErase(*row) for row in connection.execute(wanted.order_by(entries.c.seq))]


@dataclass(frozen=True, slots=True)
class Answered:
    """A task that a target answered for the subject, for the first time at `since` (unix seconds)."""

    target: str
    task: str
    since: float


def answered(engine: Engine, subject: Subject) -> list[Answered]:
    """Return what was answered for the subject, by target and task. Raises: LedgerUnavailable."""
    columns = entries.c.target, entries.c.task
    known = (each.is_not(None) for each in columns)
    wanted = sa.select(*columns, sa.func.min(entries.c.at)).where(subject.condition, *known).group_by(*columns)
    with translated(engine.url), engine.connect() as connection:
        return [Answered(*row) for row in connection.execute(wanted)]


def count_sums(engine: Engine, subject: Subject) -> int:
    """Return how many sums name the tenant, which outlive its rows; sums name no person. Raises: LedgerUnavailable."""
    if subject.person is not None:
        return 0
    named = sa.select(sa.func.count()).select_from(rollups).where(rollups.c.tenant == subject.tenant)
    with translated(engine.url), engine.connect() as connection:
        return connection.scalar(named) or 0


def erase(engine: Engine, subject: Subject) -> list[Erasure]:
    """Erase the lines about the subject, all or none; return what was done, one erasure for each tenant.

    No leaf changes, so the log stands. The files of the days have to be written again.

    Raises: LedgerUnavailable.
    """
    with translated(engine.url):
        with _overwriting(engine) as connection:
            # The writer's transactions begin with this row as well: none adds to the sums that change here.
            connection.execute(sa.update(state).values(last_seq=state.c.last_seq))
            tenants = connection.scalars(sa.select(entries.c.tenant).where(subject.condition).distinct()).all()
            made = [_erase(connection, Subject(tenant, subject.person)) for tenant in sorted(tenants)]
            if subject.person is None:
                _rename_sums(connection, str(subject.tenant), made[0].id if made else new_id())
        _clean(engine)
    return made


def _erase(connection: Connection, subject: Subject) -> Erasure:
    """Erase lines of one tenant."""
    erasure = new_id()
    tenant = erasure if subject.person is None else subject.tenant
    affected = connection.scalars(sa.select(entries.c.day).where(subject.condition).distinct()).all()
    _move_sums(connection, subject, {"tenant": tenant, "task": None})
    emptied: dict[str, Any] = dict.fromkeys(("task", "traceparent", "body", "salt"))
    job = sa.literal(erased_job(""), sa.Text).concat(sa.cast(entries.c.seq, sa.Text))
    change = sa.update(entries).where(subject.condition)
    connection.execute(change.values(tenant=tenant, job_id=job, person=erasure, **emptied))
    connection.execute(sa.update(days).where(days.c.day.in_(affected), _is_whole()).values(parquet=None))
    [made] = _made(connection, entries.c.person == erasure)
    return made


def _is_whole() -> sa.ColumnElement[bool]:
    """Return the condition of days that have all their rows: a file of others could not be written again."""
    rows = sa.select(sa.func.count()).where(entries.c.seq.between(days.c.first_seq, days.c.last_seq))
    return rows.scalar_subquery() == days.c.size


def new_id() -> str:
    """Return an id for an erasure; an erased tenant is called so."""
    return ERASED + secrets.token_hex(8)


def unrecorded(engine: Engine) -> list[Erasure]:
    """Return the erasures of which no record is in the ledger, as after a crash. Raises: LedgerUnavailable."""
    records = sa.select(entries.c.job_id).where(entries.c.line == ERASURE)
    without = sa.and_(entries.c.body.is_(None), entries.c.person.not_in(records))
    with translated(engine.url), engine.connect() as connection:
        return _made(connection, without)


def _made(connection: Connection, condition: sa.ColumnElement[bool]) -> list[Erasure]:
    columns = [entries.c[name] for name in ("seq", "tenant", "person", "body", "line")]
    found = Erasures()
    for row in _streamed(connection, sa.select(*columns).where(condition).order_by(entries.c.seq)):
        found.add(row)
    return found.made()


def _move_sums(connection: Connection, subject: Subject, renamed: dict[str, Any]) -> None:
    """Take the rows out of the sums, and add them as they will be called."""
    portion: list[dict[str, Any]] = []
    for row in _streamed(connection, sa.select(entries).where(subject.condition)):
        portion.append(dict(row))
        if len(portion) == PORTION:
            _move(connection, portion, renamed)
            portion.clear()
    _move(connection, portion, renamed)
    connection.execute(sa.delete(rollups).where(rollups.c.lines == 0))


def _move(connection: Connection, rows: Sequence[dict[str, Any]], renamed: dict[str, Any]) -> None:
    add_sums(connection, [_negative(sums) for sums in sums_of(rows)])
    add_sums(connection, sums_of([{**row, **renamed} for row in rows]))


def _negative(sums: dict[str, Any]) -> dict[str, Any]:
    return {**sums, **{name: -sums[name] for name in SUMS}}


def _rename_sums(connection: Connection, tenant: str, erasure: str) -> None:
    """Rename the tenant in the sums of rows that are no longer kept."""
    found = connection.execute(sa.select(rollups).where(rollups.c.tenant == tenant)).mappings().all()
    connection.execute(sa.delete(rollups).where(rollups.c.tenant == tenant))
    for each in found:
        add_sums(connection, [{**each, "tenant": erasure, "task": ""}])


def _streamed(connection: Connection, wanted: sa.Select[Any]) -> Iterator[Any]:
    return iter(connection.execute(wanted.execution_options(yield_per=PORTION)).mappings())


@contextmanager
def _overwriting(engine: Engine) -> Iterator[Connection]:
    """Begin a transaction that leaves nothing of what it deletes in SQLite's file."""
    with engine.begin() as connection:
        if engine.dialect.name == SQLITE:
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
        yield connection


def _clean(engine: Engine) -> None:
    """Remove what a database keeps of rows that were changed: SQLite its log, PostgreSQL the rows' old versions."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == SQLITE:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            connection.exec_driver_sql("VACUUM entries, rollups")
