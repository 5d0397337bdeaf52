"""Reads the content store, on record. Only to open a content takes the key, and nothing here makes a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Engine

from fleet.content.store import VARIABLE, changing
from fleet.content.tables import contents, keys, reads
from fleet.content.vault import Vault
from fleet.ledger.database import check_there, database_url, engine_for, shown, translated
from fleet.model.content import Content
from fleet.model.errors import LedgerUnavailable

MAKER = "fleet content run"


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

    def reads(self, limit: int) -> Sequence[Read]:
        """Return the latest readings, newest first."""
        wanted = sa.select(reads.c.at, reads.c.who, reads.c.asked).order_by(reads.c.id.desc()).limit(limit)
        with translated(self._engine.url), self._engine.connect() as connection:
            return [Read(*row) for row in connection.execute(wanted)]

    def _note(self, who: str, asked: str) -> None:
        with changing(self._engine) as connection:
            connection.execute(sa.insert(reads).values(at=self._now(), who=who, asked=asked))


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
