"""The brokers that the benchmark starts, and what can be read there of queues and results without touching either."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import nats
from nats.aio.client import Client
from nats.js.api import StreamInfo
from nats.js.errors import NotFoundError

START_SECONDS = 20.0
READ_BYTES = 65_536


class Queue(Protocol):
    async def is_touched(self, jobs: int) -> bool:
        """Return whether a worker has taken anything of the queue, onto which so many jobs were put."""

    async def held(self) -> int:
        """Return the number of jobs that the broker still has, waiting or in a worker's hands."""


class Outcomes(Protocol):
    async def stored(self) -> int:
        """Return the number of jobs that have a result."""

    async def written(self) -> int:
        """Return the number of results written: more than `stored` where a job got more than one."""


class RedisServer:
    """A redis-server on a socket in `folder`, as its guide advises where nothing may be lost.

    Every command goes to an append-only file that is synced each second, as nats-server's is here.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.socket = folder / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_installed() -> bool:
        return shutil.which("redis-server") is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server, and return when it listens. Raises: TimeoutError."""
        options = {"port": 0, "unixsocket": self.socket, "dir": self._folder, "save": "", **DURABLE_REDIS}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL, start_new_session=True)
        until = time.monotonic() + START_SECONDS
        while not self.socket.exists():
            if time.monotonic() > until:
                raise TimeoutError("redis-server did not start")
            time.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


DURABLE_REDIS = {"appendonly": "yes", "appendfsync": "everysec"}


class RedisWire:
    """Asks redis-server a question on one database, in its inline protocol."""

    def __init__(self, path: Path, database: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self.ask(f"SELECT {database}")

    def ask(self, question: str) -> str:
        """Return the answer, without its length: a number, a word or a text."""
        self._socket.sendall(f"{question}\r\n".encode())
        answer = self._socket.recv(READ_BYTES).decode()
        kind, (head, _, rest) = answer[0], answer[1:].partition("\r\n")
        while kind == "$" and len(rest) < int(head):
            rest += self._socket.recv(READ_BYTES).decode()
        return rest if kind == "$" else head

    def close(self) -> None:
        self._socket.close()


UNACKNOWLEDGED = "unacked"
"""The key under which kombu keeps what a worker has taken and not yet acknowledged."""


class RedisList:
    """A queue that is a list in Redis, as kombu keeps it."""

    def __init__(self, wire: RedisWire, name: str) -> None:
        self._wire, self._name = wire, name

    async def is_touched(self, jobs: int) -> bool:
        return int(self._wire.ask(f"LLEN {self._name}")) < jobs

    async def held(self) -> int:
        return int(self._wire.ask(f"LLEN {self._name}")) + int(self._wire.ask(f"HLEN {UNACKNOWLEDGED}"))


class RedisKeys:
    """Results that are the keys of a database; `command` writes one."""

    def __init__(self, wire: RedisWire, command: str) -> None:
        self._wire, self._command = wire, command

    async def stored(self) -> int:
        return int(self._wire.ask("DBSIZE"))

    async def written(self) -> int:
        return calls_of(self._wire.ask("INFO commandstats"), self._command)


def calls_of(statistics: str, command: str) -> int:
    """Return how often a command was called, by what INFO commandstats says."""
    for line in statistics.splitlines():
        name, _, figures = line.partition(":")
        if name == f"cmdstat_{command}":
            return int(figures.removeprefix("calls=").partition(",")[0])
    return 0


class Stream:
    """A stream of JetStream as a queue, or as results of which each job's have a subject of their own.

    `following` are the queues that a job goes through after this one.
    """

    def __init__(self, connection: Client, name: str, following: Sequence[str] = ()) -> None:
        self._js, self._name, self._following = connection.jetstream(), name, following

    async def is_touched(self, jobs: int) -> bool:
        try:
            consumers = await self._js.consumers_info(self._name)
        except NotFoundError:
            return False
        return any(each.delivered and each.delivered.consumer_seq for each in consumers)

    async def held(self) -> int:
        return sum([await self._messages(name) for name in (self._name, *self._following)])

    async def stored(self) -> int:
        info = await self._info(self._name, ">")
        return len((info and info.state.subjects) or {})

    async def written(self) -> int:
        return await self._messages(self._name)

    async def _messages(self, name: str) -> int:
        info = await self._info(name)
        return info.state.messages if info else 0

    async def _info(self, name: str, subjects: str | None = None) -> StreamInfo | None:
        try:
            return await self._js.stream_info(name, subjects_filter=subjects)
        except NotFoundError:
            return None


async def connected(url: str) -> Client:
    return await asyncio.wait_for(nats.connect(url), START_SECONDS)
