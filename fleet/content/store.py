"""The content store: a database of its own, with a role of its own, that holds contents encrypted and notes readers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Double, Engine, Index, Integer, LargeBinary, MetaData, Table, Text

from fleet.content.vault import Vault, new_salt
from fleet.ledger.database import SQLITE, make_private, translated
from fleet.model.content import Content

VARIABLE = "FLEET_CONTENT_URL"

metadata = MetaData()

contents = Table(
    "contents",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("job_id", Text, primary_key=True),
    Column("at", Double, nullable=False, doc="unix seconds when the answer was delivered"),
    Column("task", Text, nullable=False),
    Column("target", Text),
    Column("person", Text, doc="opaque id of whom it is about"),
    Column("sealed", LargeBinary, nullable=False, doc="request and answer, encrypted"),
)
Index("contents_at", contents.c.at)
Index("contents_person", contents.c.person)

keys = Table(
    "keys",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("salt", LargeBinary, nullable=False, doc="the tenant's part of its key; without it nothing of it opens"),
)

reads = Table(
    "reads",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("who", Text, nullable=False, doc="the user of the machine who asked"),
    Column("asked", Text, nullable=False, doc="what was asked for, as words"),
)


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
        """Store contents; one that comes again replaces itself."""
        with changing(self._engine) as connection:
            for content in found:
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


@contextmanager
def changing(engine: Engine) -> Iterator[Connection]:
    """Begin a transaction that leaves nothing of what it deletes in SQLite's file."""
    with translated(engine.url), engine.begin() as connection:
        if engine.dialect.name == SQLITE:
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
        yield connection


def _salt(connection: Connection, tenant: str) -> bytes:
    """Return the tenant's salt, made if it has none."""
    found = connection.scalar(sa.select(keys.c.salt).where(keys.c.tenant == tenant))
    if found is not None:
        return bytes(found)
    made = new_salt()
    connection.execute(sa.insert(keys).values(tenant=tenant, salt=made))
    return made
