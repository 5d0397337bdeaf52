"""Locks on the ledger's database. Each ends with its process, however that ends: nothing is cleared by hand.

For SQLite a lock is the kernel's, on an empty file beside the database; for PostgreSQL it is a connection's.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import Enum
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine

from fleet.files import OWNER_ONLY
from fleet.ledger.database import SQLITE, engine_for, translated
from fleet.model.errors import LedgerUnavailable


class LockName(Enum):
    """What a lock is for: the end of its file's name, and its number among PostgreSQL's advisory locks."""

    WRITER = ("writer", 5_374_003_918)
    ERASURE = ("erasure", 5_374_003_919)

    def __init__(self, suffix: str, number: int) -> None:
        self.suffix = suffix
        self.number = number


class Lock(Protocol):
    """A lock of one process; several may share one that is made for sharing."""

    def claim(self) -> bool:
        """Take the lock, or see that it is still held; return False while others have it. Raises: LedgerUnavailable."""

    def release(self) -> None:
        """Let the lock go, if it is held."""


def lock_on(engine: Engine, name: LockName, is_shared: bool = False) -> Lock:
    """Return a lock on the database, which is not taken yet."""
    if engine.dialect.name == SQLITE:
        return FileLock(Path(str(engine.url.database)), name, is_shared)
    return AdvisoryLock(engine_for(engine.url), name, is_shared)


READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
"""The errors of whoever may not make a file where the database is."""

WAIT_SECONDS = 0.2
"""Seconds between two tries to take a lock that is waited for."""


@contextmanager
def held(lock: Lock, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold a lock, once it can be had; `on_wait` is called before a wait. Raises: LedgerUnavailable."""
    if not lock.claim():
        on_wait()
        while not lock.claim():
            time.sleep(WAIT_SECONDS)
    try:
        yield
    finally:
        lock.release()


@asynccontextmanager
async def held_async(lock: Lock, on_wait: Callable[[], None]) -> AsyncIterator[None]:
    """Hold a lock as `held` does, while other tasks go on."""
    if not await asyncio.to_thread(lock.claim):
        on_wait()
        while not await asyncio.to_thread(lock.claim):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(WAIT_SECONDS)
    try:
        yield
    finally:
        lock.release()


class FileLock:
    """Locks a file beside SQLite's. The file stays: whoever removed it would lock another than the one who has it."""

    def __init__(self, database: Path, name: LockName, is_shared: bool) -> None:
        self._database = database
        self._path = database.with_name(f"{database.name}.{name.suffix}")
        self._is_shared = is_shared
        self._descriptor: int | None = None

    def claim(self) -> bool:
        if self._descriptor is None:
            try:
                self._descriptor = self._locked()
            except OSError as error:
                if self._is_shared and error.errno in READ_ONLY:
                    return True  # whoever reads a copy that nobody writes to needs no lock
                raise LedgerUnavailable(f"{self._path}: {(error.strerror or str(error)).lower()}") from error
        return self._descriptor is not None

    def _locked(self) -> int | None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CREAT, OWNER_ONLY)
        try:
            if os.geteuid() == 0 and self._database.exists():  # root must not lock the database's owner out
                owner = self._database.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            fcntl.flock(descriptor, (fcntl.LOCK_SH if self._is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class AdvisoryLock:
    """Holds one of PostgreSQL's advisory locks, on a connection of its own."""

    def __init__(self, engine: Engine, name: LockName, is_shared: bool) -> None:
        self._engine = engine
        self._ask = f"SELECT pg_try_advisory_lock{'_shared' if is_shared else ''}({name.number})"
        self._connection: Connection | None = None
        self._is_held = False

    def claim(self) -> bool:
        try:
            with translated(self._engine.url):
                if self._connection is None:
                    self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                # While the connection lives, so does the lock; asking once more would count it twice.
                answer = self._connection.exec_driver_sql("SELECT true" if self._is_held else self._ask).scalar()
        except LedgerUnavailable:
            self.release()
            raise
        self._is_held = bool(answer)
        return self._is_held

    def release(self) -> None:
        connection, self._connection, self._is_held = self._connection, None, False
        if connection is not None:
            connection.invalidate()
            connection.close()
        self._engine.dispose()
