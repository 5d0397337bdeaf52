"""Cells: values that many processes write to, each only if nobody else has written since it looked."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_core import from_json, to_json

from fleet.model.errors import QueueUnavailable
from queues.jetstream.client.connection import Connection, status_of
from queues.jetstream.client.frames import Arrival
from queues.wire.letters import Message
from queues.wire.subjects import EXPECTED_LAST_SUBJECT_SEQUENCE, SPEND, spend_subject

NO_MESSAGE = 10037
"""The server's code for a subject that holds nothing."""

WRITTEN_MEANWHILE = (10071, 10164)
"""The server's codes for a subject whose last sequence is not the expected one; a cluster has a code of its own."""


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
    """Cells in the key-value bucket `spend`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def read(self, key: str) -> Cell:
        # Answered by the stream's leader; a direct get may come from a replica that lags.
        reply = await self._ask(f"$JS.API.STREAM.MSG.GET.{SPEND}", {"last_by_subj": spend_subject(key)})
        if _error_code(reply) == NO_MESSAGE:
            return NOTHING
        message = _checked(reply)["message"]
        # An operator's `nats kv del` leaves a marker without a value.
        return Cell(b64decode(message.get("data", "")), message["seq"])

    async def write(self, key: str, value: bytes, revision: int) -> int | None:
        headers = {EXPECTED_LAST_SUBJECT_SEQUENCE: str(revision)}
        [reply] = await self._connection.exchange([Message(spend_subject(key), value, headers)])
        answer = _answer(reply)
        if _error_code(answer) in WRITTEN_MEANWHILE:
            return None
        return int(_checked(answer)["seq"])

    async def keys(self, prefix: str) -> Sequence[str]:
        wanted = {"subjects_filter": spend_subject(f"{prefix}.>")}
        subjects = _checked(await self._ask(f"$JS.API.STREAM.INFO.{SPEND}", wanted))["state"].get("subjects") or {}
        return sorted(subject.removeprefix(spend_subject("")) for subject in subjects)

    async def _ask(self, subject: str, question: dict[str, Any]) -> dict[str, Any]:
        [reply] = await self._connection.exchange([Message(subject, to_json(question))])
        return _answer(reply)


def _answer(reply: Arrival) -> dict[str, Any]:
    if status_of(reply) is not None:
        raise QueueUnavailable("nobody keeps the bucket spend")
    answer: dict[str, Any] = from_json(reply.data)
    return answer


def _error_code(answer: dict[str, Any]) -> int | None:
    code: int | None = answer.get("error", {}).get("err_code")
    return code


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise QueueUnavailable(f"JetStream: {answer['error'].get('description')}")
    return answer


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
