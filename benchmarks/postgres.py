"""A PostgreSQL server of one's own, for what is measured or tested against a real one."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from fleet.loopback import free_port

DEBIAN = Path("/usr/lib/postgresql/15/bin")
"""The folder of the server's programs on Debian, outside PATH."""

ANOTHER_USER = "postgres"
"""The user that the server runs as where we are root, which it refuses to be."""

POLL_SECONDS = 0.02


class NoPostgres(Exception):
    """Raised if no PostgreSQL server is installed."""


def server_program(name: str) -> str:
    """Return a program of the server. Raises: NoPostgres."""
    found = shutil.which(name, path=f"{DEBIAN}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        raise NoPostgres("needs a PostgreSQL server: apt-get install postgresql")
    return found


class PostgresServer:
    """A server on loopback. Use it as a context manager. Without `durable` it never waits for the disk.

    Raises: NoPostgres where none is installed.
    """

    def __init__(self, durable: bool = False) -> None:
        self._durable = durable
        self._port = free_port()
        self._numbers = itertools.count(1)
        self._user = ANOTHER_USER if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        initdb = server_program("initdb")
        self._folder = Path(tempfile.mkdtemp(prefix="fleet-postgres-"))
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        command = [initdb, "-D", str(self._data), "-U", "fleet", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(command, user=self._user, cwd=self._folder, check=True, stdout=subprocess.DEVNULL)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        """Start the server, and return when it answers."""
        options = {"listen_addresses": "127.0.0.1", "port": str(self._port), "unix_socket_directories": ""}
        if not self._durable:
            options |= dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "off")
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command = [server_program("postgres"), "-D", str(self._data), *words]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, user=self._user, cwd=self._folder, stdout=log, stderr=log)
        while not self._answers():
            time.sleep(POLL_SECONDS)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server at once, cutting every connection; SIGKILL is a crash of its first process alone."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def database(self) -> str:
        """Make a new database and return its address."""
        name = f"ledger_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql://fleet@127.0.0.1:{self._port}/{name}"

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError((self._folder / "log").read_text())
        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True
