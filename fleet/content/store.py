"""The content store: a database of its own, with a role of its own, that holds contents encrypted and notes readers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fleet.content import fence
from fleet.content.tables import contents, keys, metadata
from fleet.content.vault import Vault, new_salt
from fleet.ledger.database import SQLITE, make_private, translated
from fleet.model.content import Content

VARIABLE = "FLEET_CONTENT_URL"

CHANGING = 5_374_003_920
"""The PostgreSQL advisory lock of whoever changes the store; nothing else uses this number."""


class ContentStore:
    """The store from the side of its collector. Every method raises LedgerUnavailable."""

    def __init__(self, engine: Engine, vault: Vault) -> None:
        self._engine = engine
        self._vault = vault

    def open(self) -> None:
        """Make the tables where there are none; SQLite's file is its owner's alone."""
        if self._engine.dialect.name == SQLITE:
            make_private(Path(str(self._engine.url.database)))
        with changing(self._engine) as connection:
            metadata.create_all(connection)

    def write(self, found: Sequence[Content]) -> None:
        """Store contents but those that are erased; one that comes again replaces itself."""
        with changing(self._engine) as connection:
            for content in fence.not_erased(connection, found):
                sealed = self._vault.sealed(content, _salt(connection, content.tenant))
                row = {"at": content.at, "task": content.task, "target": content.target, "person": content.person}
                which = sa.and_(contents.c.tenant == content.tenant, contents.c.job_id == content.job_id)
                connection.execute(sa.delete(contents).where(which))
                names = {"tenant": content.tenant, "job_id": content.job_id}
                connection.execute(sa.insert(contents).values(**names, **row, sealed=sealed))

    def forget(self, before: float) -> int:
        """Delete the contents of before this moment (unix seconds); return how many."""
        with changing(self._engine) as connection:
            return connection.execute(sa.delete(contents).where(contents.c.at < before)).rowcount

    def forget_erasures(self, now: float) -> None:
        """Delete the notes of erasures that no content on its way can be meant by any more."""
        with changing(self._engine) as connection:
            fence.forget(connection, now)


@contextmanager
def changing(engine: Engine) -> Iterator[Connection]:
    """Begin a transaction that has the store to itself, and leaves nothing of what it deletes in SQLite's file.

    An erasure sees all that the collector has stored, or the collector sees the erasure: never neither.
    """
    with translated(engine.url), engine.begin() as connection:
        if engine.dialect.name == SQLITE:
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({CHANGING})")
        yield connection


def _salt(connection: Connection, tenant: str) -> bytes:
    """Return the tenant's salt, made if it has none."""
    found = connection.scalar(sa.select(keys.c.salt).where(keys.c.tenant == tenant))
    if found is not None:
        return bytes(found)
    made = new_salt()
    connection.execute(sa.insert(keys).values(tenant=tenant, salt=made))
    return made
