"""The ledger's database: SQLite in a file, or PostgreSQL. Opened, migrated, and its errors translated, here alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, NoSuchModuleError, OperationalError, SQLAlchemyError

from fleet.files import OWNER_ONLY
from fleet.model.errors import ConfigError, LedgerUnavailable

VARIABLE = "FLEET_LEDGER_URL"
SQLITE, POSTGRESQL = "sqlite", "postgresql"
DRIVERS = {SQLITE: "sqlite", POSTGRESQL: "postgresql+psycopg"}
"""The driver for each database."""

BUSY_SECONDS = 30
"""Seconds that SQLite waits for another process that writes: an erasure, or retention by hand."""

MIGRATING = 5_374_003_917
"""The PostgreSQL advisory lock of the process that migrates; nothing else uses this number."""

_SQLITE_PRAGMAS = (
    # Readers never wait for the writer, nor the writer for them.
    "journal_mode = WAL",
    # A commit survives a power cut: a receipt may have been given for it.
    "synchronous = FULL",
    f"busy_timeout = {BUSY_SECONDS * 1000}",
)

_POSTGRESQL: Mapping[str, Any] = {
    "connect_timeout": 10,
    "application_name": "fleet-ledger",
    # A server that is frozen or cut off is noticed within a minute; its kernel may never say so.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    # And the server notices a client that is cut off, and frees what it has locked.
    "options": "-c timezone=UTC -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3",
}


def database_url(url: str, variable: str = VARIABLE) -> URL:
    """Return the address of the database, parsed.

    Raises: ConfigError naming the variable if it is no address of SQLite or PostgreSQL.
    """
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError, NoSuchModuleError):
        raise ConfigError(variable, "must be sqlite:///path or postgresql://user:password@host/database") from None
    if backend not in DRIVERS:
        raise ConfigError(variable, f"must be of SQLite or PostgreSQL, and is of {backend}")
    if backend == SQLITE and parsed.database in (None, "", ":memory:"):
        raise ConfigError(variable, "must name a file: what is in memory is gone with the process")
    return parsed.set(drivername=DRIVERS[backend])


def shown(url: URL) -> str:
    """Return the address without its password."""
    return url.render_as_string(hide_password=True)


def engine_for(url: URL) -> Engine:
    """Return the engine; nothing is opened yet, and no file made."""
    if url.get_backend_name() == POSTGRESQL:
        # One connection for the writer; a reader that is asked for several things at once takes more.
        return create_engine(url, connect_args=dict(_POSTGRESQL), pool_size=1, max_overflow=9, pool_recycle=3600)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _set_pragmas)
    return engine


def _set_pragmas(connection: Any, _: object) -> None:
    for pragma in _SQLITE_PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turn errors of the database into the fleet's.

    Raises: LedgerUnavailable; its text holds no password, and of the database's words only those about reaching it.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise LedgerUnavailable(f"{shown(url)}: {_words(error)}") from error


def _words(error: SQLAlchemyError) -> str:
    cause = getattr(error, "orig", None) or error
    if isinstance(error, OperationalError | InterfaceError):
        return " ".join(str(cause).split())[:300]
    return type(cause).__name__  # others quote what they stumbled over


def migrate(engine: Engine) -> None:
    """Make the tables, or bring them up to this version; a crash on the way leaves all or nothing of it.

    Raises: LedgerUnavailable; ConfigError if a newer version of the fleet has migrated the database.
    """
    if engine.dialect.name == SQLITE:
        make_private(Path(str(engine.url.database)))
    with translated(engine.url), engine.connect() as connection:
        # Python's driver would begin no transaction for what makes tables.
        begin = "BEGIN IMMEDIATE" if engine.dialect.name == SQLITE else f"SELECT pg_advisory_xact_lock({MIGRATING})"
        connection.exec_driver_sql(begin)
        _refuse_newer(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def check_there(engine: Engine, variable: str, maker: str) -> None:
    """Refuse a file of SQLite that is not there, which a connection would make, empty.

    Raises: LedgerUnavailable, which says which command makes it and which variable names another.
    """
    if engine.dialect.name == SQLITE and not Path(str(engine.url.database)).exists():
        raise LedgerUnavailable(
            f"{shown(engine.url)}: there is no such file: `{maker}` makes it, and {variable} names another"
        )


def check_migrated(engine: Engine) -> None:
    """Refuse a database that has no tables of this version: only the writer makes them.

    Raises: LedgerUnavailable, which says what to do; ConfigError if it is of a newer version.
    """
    check_there(engine, VARIABLE, "fleet ledger run")
    with translated(engine.url), engine.connect() as connection:
        _refuse_newer(connection)
        if _version(connection) != _scripts().get_current_head():
            raise LedgerUnavailable(
                f"{shown(engine.url)}: not of this version: start `fleet ledger run` of this version"
            )


def _refuse_newer(connection: Connection) -> None:
    version = _version(connection)
    known = {script.revision for script in _scripts().walk_revisions()}
    if version is not None and version not in known:
        raise ConfigError(VARIABLE, f"{shown(connection.engine.url)} is of a newer version of the fleet ({version})")


def _version(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    # Alembic expands a percent sign in its settings.
    config.set_main_option("script_location", str(files("fleet.ledger") / "migrations").replace("%", "%%"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def make_private(path: Path) -> None:
    """Make the file for its owner alone: it names tenants. SQLite gives the files beside it the same permissions.

    Raises: OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, OWNER_ONLY))
