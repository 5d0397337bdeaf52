"""Reads the content store, on record. Only to open a content takes the key, and nothing here makes a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Engine

from fleet.content.store import VARIABLE, changing
from fleet.content.tables import contents, keys, reads
from fleet.content.vault import Undecipherable, Vault
from fleet.ledger.database import check_there, database_url, engine_for, shown, translated
from fleet.model.content import Content
from fleet.model.errors import LedgerUnavailable

MAKER = "fleet content run"

AT_A_TIME = 500
"""Contents, or names of jobs, that are asked for at a time."""


@dataclass(frozen=True, slots=True)
class ContentEntry:
    """What is known of a content without opening it."""

    tenant: str
    job_id: str
    at: float
    task: str
    target: str | None


@dataclass(frozen=True, slots=True)
class Read:
    """A reading of contents that was noted before anything was shown."""

    at: float
    who: str
    asked: str


class ContentReader:
    """The store from the side of its readers. Every method raises LedgerUnavailable."""

    def __init__(self, engine: Engine, now: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._now = now

    def show(self, vault: Vault, tenant: str, job_id: str, who: str) -> Content | None:
        """Return a content, None if there is none; the reading is put on record first. Raises: Undecipherable."""
        self._note(who, f"content of {tenant} {job_id}")
        which = sa.and_(contents.c.tenant == tenant, contents.c.job_id == job_id)
        wanted = sa.select(contents.c.sealed, keys.c.salt).join(keys, keys.c.tenant == contents.c.tenant).where(which)
        with translated(self._engine.url), self._engine.connect() as connection:
            row = connection.execute(wanted).first()
        return None if row is None else vault.opened(row.sealed, tenant, job_id, row.salt)

    def list(self, tenant: str | None, task: str | None, limit: int, who: str) -> Sequence[ContentEntry]:
        """Return the newest contents, unopened; the reading is put on record first."""
        self._note(who, f"list of {tenant or 'all tenants'} {task or 'all tasks'}")
        columns = (contents.c[name] for name in ("tenant", "job_id", "at", "task", "target"))
        named = [contents.c[name] == value for name, value in (("tenant", tenant), ("task", task)) if value is not None]
        wanted = sa.select(*columns).where(*named).order_by(contents.c.at.desc()).limit(limit)
        with translated(self._engine.url), self._engine.connect() as connection:
            return [ContentEntry(*row) for row in connection.execute(wanted)]

    def open_all(
        self, vault: Vault, tenants: Collection[str], tasks: Collection[str] | None, who: str, purpose: str
    ) -> Iterator[tuple[str, Content | Undecipherable]]:
        """Yield the task and the content of all of these tenants, and tasks if given, oldest first.

        In place of one that does not open comes why. The reading is put on record first, with its purpose.
        """
        named = f"{', '.join(sorted(tenants)) or 'no tenant'}, {', '.join(sorted(tasks)) if tasks else 'all tasks'}"
        self._note(who, f"{purpose}: contents of {named}")
        columns = (contents.c.tenant, contents.c.job_id, contents.c.task, contents.c.sealed, keys.c.salt)
        wanted = sa.select(*columns).join(keys, keys.c.tenant == contents.c.tenant).where(*_of(tenants, tasks))
        wanted = wanted.order_by(contents.c.at, contents.c.job_id).execution_options(yield_per=AT_A_TIME)
        with translated(self._engine.url), self._engine.connect() as connection:
            for row in connection.execute(wanted):
                try:
                    yield row.task, vault.opened(row.sealed, row.tenant, row.job_id, row.salt)
                except Undecipherable as error:
                    yield row.task, error

    def count_others(self, tenants: Collection[str], tasks: Collection[str] | None) -> int:
        """Return how many contents there are of other tenants than these, of these tasks."""
        others = sa.select(sa.func.count()).where(contents.c.tenant.not_in(tenants), *_of(None, tasks))
        with translated(self._engine.url), self._engine.connect() as connection:
            return connection.scalar(others) or 0

    def there(self, jobs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those of these jobs, each a tenant and an id, of which there is a content."""
        wanted = sorted(set(jobs))
        found: set[tuple[str, str]] = set()
        name = sa.tuple_(contents.c.tenant, contents.c.job_id)
        with translated(self._engine.url), self._engine.connect() as connection:
            for first in range(0, len(wanted), AT_A_TIME):
                part = sa.select(contents.c.tenant, contents.c.job_id).where(
                    name.in_(wanted[first : first + AT_A_TIME])
                )
                found |= {(tenant, job_id) for tenant, job_id in connection.execute(part)}
        return found

    def reads(self, limit: int) -> Sequence[Read]:
        """Return the latest readings, newest first."""
        wanted = sa.select(reads.c.at, reads.c.who, reads.c.asked).order_by(reads.c.id.desc()).limit(limit)
        with translated(self._engine.url), self._engine.connect() as connection:
            return [Read(*row) for row in connection.execute(wanted)]

    def _note(self, who: str, asked: str) -> None:
        with changing(self._engine) as connection:
            connection.execute(sa.insert(reads).values(at=self._now(), who=who, asked=asked))


def _of(tenants: Collection[str] | None, tasks: Collection[str] | None) -> list[sa.ColumnElement[bool]]:
    named = ((contents.c.tenant, tenants), (contents.c.task, tasks))
    return [column.in_(values) for column, values in named if values is not None]


@contextmanager
def open_content_reader(address: str) -> Iterator[ContentReader]:
    """Open the store at this address (`Settings.content_address`).

    Raises: LedgerUnavailable if there is no store; ConfigError if the address is wrong.
    """
    engine = engine_for(database_url(address, VARIABLE))
    try:
        check_there(engine, VARIABLE, MAKER)
        with translated(engine.url), engine.connect() as connection:
            if not sa.inspect(connection).has_table(reads.name):
                raise LedgerUnavailable(
                    f"{shown(engine.url)}: holds no contents: `{MAKER}` makes its tables, and {VARIABLE} names another"
                )
        yield ContentReader(engine)
    finally:
        engine.dispose()
