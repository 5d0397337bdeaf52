"""Erases contents, or counts them. It takes no key, and makes no store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fleet.content import fence
from fleet.content.store import VARIABLE, changing
from fleet.content.tables import contents, keys
from fleet.ledger.database import SQLITE, database_url, engine_for, translated


@dataclass(frozen=True, slots=True)
class ContentEraser:
    """Erases from the store at an address (`Settings.content_address`), which may be none.

    A tenant or a person has to be named; both are a person in one tenant. `now` gives unix seconds. Every method raises
    LedgerUnavailable, and ConfigError if the address is wrong.
    """

    address: str
    now: Callable[[], float] = time.time

    def count(self, tenant: str | None, person: str | None) -> int | None:
        """Return how many contents there are about them; None where there is no content store."""
        with self._engine() as engine, translated(engine.url):
            if not _is_store(engine):
                return None
            with engine.connect() as connection:
                return connection.scalar(
                    sa.select(sa.func.count()).select_from(contents).where(*_which(tenant, person))
                )

    def erase(self, tenant: str | None, person: str | None) -> int | None:
        """Erase the contents about them, and of a whole tenant its key; return how many, None as `count`.

        Those that are on their way to the store will not be stored.
        """
        with self._engine() as engine:
            with translated(engine.url):
                if not _is_store(engine):
                    return None
            with changing(engine) as connection:
                fence.note(connection, tenant, person, self.now())
                erased = _erase(connection, tenant, person)
            _clean(engine)
            return erased

    @contextmanager
    def _engine(self) -> Iterator[Engine]:
        engine = engine_for(database_url(self.address, VARIABLE))
        try:
            yield engine
        finally:
            engine.dispose()


def _is_store(engine: Engine) -> bool:
    """Return whether there is a store; to ask SQLite for a file that is not there would make it."""
    if engine.dialect.name == SQLITE and not Path(str(engine.url.database)).exists():
        return False
    return sa.inspect(engine).has_table(contents.name)


def _which(tenant: str | None, person: str | None) -> list[sa.ColumnElement[bool]]:
    named = [(contents.c.tenant, tenant), (contents.c.person, person)]
    return [column == value for column, value in named if value is not None]


def _erase(connection: Connection, tenant: str | None, person: str | None) -> int:
    erased = connection.execute(sa.delete(contents).where(*_which(tenant, person))).rowcount
    if person is None:
        connection.execute(sa.delete(keys).where(keys.c.tenant == tenant))
    return erased


def _clean(engine: Engine) -> None:
    """Remove what a database keeps of rows that were deleted."""
    with translated(engine.url), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        is_sqlite = engine.dialect.name == SQLITE
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)" if is_sqlite else "VACUUM contents, keys")
