"""What is asked of the ledger: one job's lines, lists of jobs, and sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Engine, exists, func, select

from fleet.ledger.database import check_migrated, database_url, engine_for, translated
from fleet.ledger.rows import storable
from fleet.ledger.tables import GROUPS, SUMS, days, ended, entries, rollups, state
from fleet.logs import get_logger
from fleet.model.result import LedgerEntry
from queues.wire.ledger import decode_ledger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EndedFilter:
    """The jobs to list; None is any. `tenant`, `target`, `lane`, `status` and `reason` are those of the last line."""

    status: str | None = None
    reason: str | None = None
    tenant: str | None = None
    target: str | None = None
    lane: str | None = None


@dataclass(frozen=True, slots=True)
class EndedJob:
    """The line that ended a job; what it says of an attempt is None where the job ended without running once more."""

    seq: int
    at: float
    tenant: str
    job_id: str
    lane: str | None
    task: str | None
    plan: str | None
    status: str
    reason: str | None
    attempt: int | None
    target: str | None
    provider: str | None
    model: str | None
    failure: str | None
    confidence: float | None
    threshold: float | None
    submitted_at: float | None
    cost_nano_usd: int | None
    """The last attempt's cost; the job's is the sum over its lines."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over lines: `jobs` ended with one of them, `attempts` ran, `failures` ran without an answer.

    `group` has the value of each column that the sums are by; empty text is a value that lines did not have.
    """

    group: Mapping[str, str]
    lines: int
    attempts: int
    jobs: int
    failures: int
    cost_nano_usd: int
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cache_write_1h_tokens: int
    attempt_seconds: float


@dataclass(frozen=True, slots=True)
class Day:
    """A day's part of the ledger: its lines, and what is said of its tree (see the columns of `days`)."""

    day: str
    first_seq: int | None
    last_seq: int | None
    size: int
    frontier: bytes
    root: bytes | None
    previous: bytes | None
    checkpoint: str | None
    parquet: str | None


@dataclass(frozen=True, slots=True)
class LedgerState:
    """The position of the database, and the lines it left out (see the columns of `state`)."""

    stream: str
    last_seq: int
    ahead: int
    last_at: float
    unreadable: int
    duplicates: int
    missed: int


class LedgerReader:
    """Reads the database while somebody else writes it. Every method raises LedgerUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def job(self, tenant: str | None, job_id: str) -> list[LedgerEntry]:
        """Return a job's lines, oldest first; without a tenant those of every tenant's job of this id.

        Of a job that was submitted again under its id they are those of the last time. A line that was erased, or is of
        a version that cannot be read, is left out; the latter are logged.
        """
        of_job = entries.c.job_id == storable(job_id)
        query = select(entries.c.seq, entries.c.body).where(of_job, entries.c.body.is_not(None))
        if tenant is not None:
            query = query.where(entries.c.tenant == storable(tenant))
        found = [_entry(*row) for row in self._rows(query.order_by(entries.c.seq))]
        return _of_last_submission([entry for entry in found if entry is not None])

    def ended(self, wanted: EndedFilter, before_seq: int | None = None, limit: int = 100) -> list[EndedJob]:
        """Return jobs that have ended, the newest first, and only those before line `before_seq`."""
        given = {field.name: getattr(wanted, field.name) for field in fields(EndedFilter)}
        words = {name: storable(value) for name, value in given.items() if value is not None}
        query = select(*(entries.c[field.name] for field in fields(EndedJob))).where(ended)
        query = query.where(*(entries.c[name] == value for name, value in words.items())).order_by(entries.c.seq.desc())
        if before_seq is not None:
            query = query.where(entries.c.seq < before_seq)
        if len(words) < 2:  # an index leads from one job to the next
            return [EndedJob(*row) for row in self._rows(query.limit(limit))]
        found: list[EndedJob] = []
        for first, last in self._stretches_with(words, before_seq):
            part = query.where(entries.c.seq.between(first, last)).limit(limit - len(found))
            found += [EndedJob(*row) for row in self._rows(part)]
            if len(found) == limit:
                break
        return found

    def _stretches_with(self, words: Mapping[str, str], before_seq: int | None) -> Sequence[Any]:
        """Return the first and the last line of each day on which such jobs ended, the newest day first.

        No index leads to jobs of two words, which each may be frequent: nobody should read a month to find none.
        """
        such = (rollups.c[name] == value for name, value in words.items())
        any_ended = exists().where(rollups.c.day == days.c.day, rollups.c.status != "", *such)
        query = select(days.c.first_seq, days.c.last_seq).where(days.c.first_seq.is_not(None), any_ended)
        if before_seq is not None:
            query = query.where(days.c.first_seq < before_seq)
        return self._rows(query.order_by(days.c.day.desc()))

    def attempt_sums(self, group_by: Sequence[str], since: str, until: str) -> list[Sums]:
        """Return sums by these columns of `GROUPS`, of the days from `since` to `until`, both included."""
        assert set(group_by) <= set(GROUPS), "each is a column of the rollups"
        groups = [rollups.c[name] for name in group_by]
        sums = [func.coalesce(func.sum(rollups.c[name]), 0) for name in SUMS]
        query = select(*groups, *sums).where(rollups.c.day.between(since, until)).group_by(*groups).order_by(*groups)
        return [_sums(group_by, row) for row in self._rows(query)]

    def days(self) -> list[Day]:
        """Return the days, oldest first; rows of the first ones may be deleted."""
        columns = [days.c[field.name] for field in fields(Day)]
        return [Day(*row) for row in self._rows(select(*columns).order_by(days.c.day))]

    def state(self) -> LedgerState:
        columns = [state.c[field.name] for field in fields(LedgerState)]
        return LedgerState(*self._rows(select(*columns))[0])

    def lines(self) -> int:
        """Return the number of rows. On PostgreSQL this reads an index from end to end."""
        count: int = self._rows(select(func.count()).select_from(entries))[0][0]
        return count

    def _rows(self, query: Any) -> Sequence[Any]:
        with translated(self._engine.url), self._engine.connect() as connection:
            return connection.execute(query).all()


def _of_last_submission(found: Sequence[LedgerEntry]) -> list[LedgerEntry]:
    last = {entry.tenant: entry.submitted_at for entry in found}
    return [entry for entry in found if entry.submitted_at == last[entry.tenant]]


def _entry(seq: int, body: bytes) -> LedgerEntry | None:
    try:
        return decode_ledger(body)
    except (ValueError, AttributeError):
        log.warning("ledger_line_unreadable", seq=seq)
        return None


def _sums(group_by: Sequence[str], row: Sequence[Any]) -> Sums:
    group = dict(zip(group_by, row, strict=False))
    sums = dict(zip(SUMS, row[len(group_by) :], strict=True))
    seconds = float(sums.pop("attempt_seconds"))
    # PostgreSQL gives the sum of BIGINT as a decimal.
    return Sums(group, attempt_seconds=seconds, **{name: int(value) for name, value in sums.items()})


@contextmanager
def open_reader(url: str) -> Iterator[LedgerReader]:
    """Open the database at this address (`Settings.ledger_address`).

    Raises: LedgerUnavailable if it is not there or not of this version; ConfigError if its address is wrong.
    """
    engine = engine_for(database_url(url))
    try:
        check_migrated(engine)
        yield LedgerReader(engine)
    finally:
        engine.dispose()
