"""Cells: values that many processes write to, each only if nobody else has written since it looked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from queues.jetstream import api
from queues.jetstream.client.connection import Connection
from queues.wire.letters import Message
from queues.wire.subjects import EXPECTED_LAST_SUBJECT_SEQUENCE, SPEND, spend_subject


@dataclass(frozen=True, slots=True)
class Cell:
    """A value and its revision; revision 0 means that nothing is stored."""

    value: bytes
    revision: int


NOTHING = Cell(b"", 0)


class Cells(Protocol):
    """Compare-and-set by key. Every method raises `QueueUnavailable` if the broker does not answer."""

    async def read(self, key: str) -> Cell: ...

    async def write(self, key: str, value: bytes, revision: int) -> int | None:
        """Return the new revision, or None if `revision` is not the latest. If this raises, it may be stored."""

    async def keys(self, prefix: str) -> Sequence[str]: ...


class JetStreamCells:
    """Cells in a key-value bucket: `spend`, unless another stream and its subjects are given."""

    def __init__(
        self, connection: Connection, stream: str = SPEND, subject_of: Callable[[str], str] = spend_subject
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._subject_of = subject_of

    async def read(self, key: str) -> Cell:
        [message] = await api.last_by_subject(self._connection, self._stream, [self._subject_of(key)])
        # An operator's `nats kv del` leaves a marker without a value.
        return NOTHING if message is None else Cell(message.data, message.sequence)

    async def write(self, key: str, value: bytes, revision: int) -> int | None:
        headers = {EXPECTED_LAST_SUBJECT_SEQUENCE: str(revision)}
        try:
            return await api.publish(self._connection, Message(self._subject_of(key), value, headers))
        except api.Conflict:
            return None

    async def keys(self, prefix: str) -> Sequence[str]:
        info = await api.stream_info(self._connection, self._stream, self._subject_of(f"{prefix}.>"))
        return sorted(subject.removeprefix(self._subject_of("")) for subject in info.subjects)


class MemoryCells:
    """Cells shared by the books of one process. As with a broker, others get their turn at every step."""

    def __init__(self) -> None:
        self._cells: dict[str, Cell] = {}

    async def read(self, key: str) -> Cell:
        await asyncio.sleep(0)
        return self._cells.get(key, NOTHING)

    async def write(self, key: str, value: bytes, revision: int) -> int | None:
        await asyncio.sleep(0)
        if self._cells.get(key, NOTHING).revision != revision:
            return None
        self._cells[key] = Cell(value, revision + 1)
        return revision + 1

    async def keys(self, prefix: str) -> Sequence[str]:
        return sorted(key for key in self._cells if key.startswith(f"{prefix}."))
