"""The JetStream API: the requests that the fleet makes itself, in batches, and the replies to them.

Streams and consumers are made by nats-py, which sends one request at a time and waits for it.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic_core import from_json, to_json

from fleet.model.delivery import Source
from fleet.model.errors import QueueRefused, QueueUnavailable
from queues.jetstream.causes import NO_JETSTREAM, WAY_OUT, refused
from queues.jetstream.client.connection import Connection
from queues.jetstream.client.frames import Arrival
from queues.jetstream.codes import WRITTEN_MEANWHILE, Code
from queues.wire.letters import Message
from queues.wire.subjects import API, consumer_of, stream_of

PURGED_AT_ONCE = 256
"""Subjects purged at once."""

NO_RESPONDERS = "503"
NOT_FOUND = "404"
"""The statuses of a direct get that is answered by nobody, and of one that finds nothing."""

NOTHING_TO_DELETE = ("no message found", "stream store EOF")
"""The server's words for a message to delete that is gone, and for a sequence that has none yet."""


class Conflict(QueueRefused):
    """Another message was stored under the subject since it was read."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as it lies in a stream. `stored_at` is unix seconds, `sequence` its number in the stream."""

    subject: str
    data: bytes
    stored_at: float
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """The state of a stream; `max_bytes` is 0 where it has no bound.

    `subjects` are those asked for, with their messages: 100,000 at most, of `total`. `at` is the server's time in unix
    seconds; servers before 2.10 give none.
    """

    messages: int
    first_sequence: int
    last_sequence: int
    bytes: int
    max_bytes: int
    at: float | None
    subjects: Mapping[str, int] = field(default_factory=dict)
    total: int = 0


@dataclass(frozen=True, slots=True)
class ConsumerInfo:
    """Messages that the consumer has still to hand out, those it waits to have acknowledged, and pulls that wait."""

    num_pending: int
    num_ack_pending: int
    num_waiting: int


async def get(
    connection: Connection, places: Sequence[tuple[str, int]], generation: int | None = None
) -> list[StoredMessage | None]:
    """Return the message at each stream and sequence, None where there is none. `generation` as in `exchange`.

    Raises: QueueUnavailable.
    """
    asked = [(stream, _get(stream, seq=sequence)) for stream, sequence in places]
    return await _messages(connection, asked, generation)


async def last_by_subject(connection: Connection, stream: str, subjects: Iterable[str]) -> list[StoredMessage | None]:
    """Return the last message under each subject, None where there is none. Raises: QueueUnavailable.

    The stream's leader answers; a direct get may come from a replica that lags.
    """
    return await _messages(connection, [(stream, _get(stream, last_by_subj=subject)) for subject in subjects])


async def first_by_subject(connection: Connection, places: Sequence[tuple[str, str]]) -> list[StoredMessage | None]:
    """Return the first message of each stream that matches its filter, or None. Raises: QueueUnavailable."""
    asked = [(stream, _get(stream, seq=1, next_by_subj=subjects)) for stream, subjects in places]
    return await _messages(connection, asked)


async def next_by_subject(connection: Connection, stream: str, subjects: str, sequence: int) -> StoredMessage | None:
    """Return the first message from this sequence on that matches the filter, or None. Raises: QueueUnavailable."""
    asked = [(stream, _get(stream, seq=sequence, next_by_subj=subjects))]
    [found] = await _messages(connection, asked)
    return found


async def direct_get(connection: Connection, stream: str, subjects: Iterable[str]) -> list[bytes | None]:
    """Return the body of the last message under each subject, None where there is none. Raises: QueueUnavailable.

    Of all ways to read a stream this is the one that a tenant is allowed.
    """
    return [None if reply.status else reply.data for reply in await _direct(connection, stream, subjects)]


async def direct_last(connection: Connection, stream: str, subjects: Iterable[str]) -> list[StoredMessage | None]:
    """Return the last message under each subject as `direct_get` does, with its number. Raises: QueueUnavailable."""
    return [_direct_message(reply) for reply in await _direct(connection, stream, subjects)]


async def _direct(connection: Connection, stream: str, subjects: Iterable[str]) -> list[Arrival]:
    asked = [Message(f"{API}.DIRECT.GET.{stream}.{subject}", b"") for subject in subjects]
    replies = await connection.exchange(asked)
    for status in {reply.status for reply in replies} - {None, NOT_FOUND}:
        if status == NO_RESPONDERS:
            raise await nobody_takes(connection, stream)
        raise QueueUnavailable(f"{stream} cannot be read: status {status}")
    return replies


def _direct_message(reply: Arrival) -> StoredMessage | None:
    if reply.status:
        return None
    about = reply.headers or {}
    stored_at = _unix_seconds(about["Nats-Time-Stamp"])
    return StoredMessage(about["Nats-Subject"], reply.data, stored_at, int(about["Nats-Sequence"]))


def deletion(stream: str, sequence: int, *, erase: bool = True) -> Message:
    """Return the request to delete a message; `erase` overwrites its bytes on the disk."""
    return Message(f"{API}.STREAM.MSG.DELETE.{stream}", to_json({"seq": sequence, "no_erase": not erase}))


async def delete(connection: Connection, stream: str, sequence: int) -> bool:
    """Delete a message and overwrite its bytes; return whether there was one. Raises: QueueUnavailable."""
    [reply] = await connection.exchange([deletion(stream, sequence)])
    return _found(reply, stream) is not None


async def purge(
    connection: Connection, places: Sequence[tuple[str, str]], before: int | None = None, keep: int = 0
) -> int:
    """Remove the messages on these subjects of streams, those before number `before`; return how many there were.

    Instead of a number, `keep` says how many of the latest stay. Raises: QueueUnavailable.
    """
    which = {"keep": keep} if before is None else {"seq": before}
    purged = 0
    for start in range(0, len(places), PURGED_AT_ONCE):
        portion = places[start : start + PURGED_AT_ONCE]
        asked = [
            Message(f"{API}.STREAM.PURGE.{stream}", to_json({"filter": subject, **which}))
            for stream, subject in portion
        ]
        for (stream, _), reply in zip(portion, await connection.exchange(asked), strict=True):
            purged += int(_checked(reply, stream)["purged"])
    return purged


async def publish(connection: Connection, message: Message) -> int:
    """Store a message and return its sequence. Raises: Conflict, QueueUnavailable."""
    [reply] = await connection.exchange([message])
    if reply.status is not None:
        raise await nobody_takes(connection, message.subject)
    return int(_checked(reply, message.subject)["seq"])


async def stream_info(
    connection: Connection, stream: str, subjects: str | None = None, offset: int = 0, about: str | None = None
) -> StreamInfo:
    """Return the state of a stream, with its subjects that match `subjects`, from number `offset` on.

    Raises: QueueUnavailable; it speaks of `about`, or else of the stream.
    """
    query = b"" if subjects is None else to_json({"subjects_filter": subjects, "offset": offset})
    [reply] = await connection.exchange([Message(f"{API}.STREAM.INFO.{stream}", query)])
    answer = _checked(reply, about or stream)
    state = answer["state"]
    return StreamInfo(
        messages=state["messages"],
        first_sequence=state["first_seq"],
        last_sequence=state["last_seq"],
        bytes=state["bytes"],
        max_bytes=max(0, answer["config"].get("max_bytes", 0)),
        at=None if "ts" not in answer else _unix_seconds(answer["ts"]),
        subjects=state.get("subjects") or {},
        total=answer.get("total", 0),
    )


async def consumer_info(connection: Connection, sources: Sequence[Source]) -> list[ConsumerInfo | None]:
    """Return the state of each source's consumer, None where there is none. Raises: QueueUnavailable."""
    replies = await connection.exchange([_consumer_request("INFO", source) for source in sources])
    answers = [{} if reply.status else from_json(reply.data) for reply in replies]
    return [_consumer_info(answer) for answer in answers]


async def delete_consumers(connection: Connection, sources: Sequence[Source]) -> None:
    """Delete each source's consumer; one that is not there is no error. Raises: QueueUnavailable."""
    await connection.exchange([_consumer_request("DELETE", source) for source in sources])


def next_subject(stream: str, consumer: str) -> str:
    """Return the subject of pull requests to a consumer."""
    return f"{API}.CONSUMER.MSG.NEXT.{stream}.{consumer}"


async def nobody_takes(connection: Connection, about: str) -> QueueRefused:
    """Return why nobody answered a request to a stream: JetStream is off, or the stream is not there."""
    no_stream = f"{about}: no stream takes it: {WAY_OUT[Code.NO_STREAM]}"
    try:
        [reply] = await connection.exchange([Message(f"{API}.INFO", b"")])
    except QueueUnavailable:  # most logins may not ask
        return QueueRefused(f"{no_stream}; JetStream must be enabled")
    if reply.status is not None:
        return QueueRefused(f"{about}: {NO_JETSTREAM}")
    error = from_json(reply.data).get("error")
    return QueueRefused(no_stream) if error is None else _refusal(error, about)


def _get(stream: str, **which: str | int) -> Message:
    return Message(f"{API}.STREAM.MSG.GET.{stream}", to_json(which))


async def _messages(
    connection: Connection, asked: Sequence[tuple[str, Message]], generation: int | None = None
) -> list[StoredMessage | None]:
    replies = await connection.exchange([request for _, request in asked], generation=generation)
    found = (_found(reply, stream) for (stream, _), reply in zip(asked, replies, strict=True))
    return [None if answer is None else _stored(answer["message"]) for answer in found]


def _stored(message: Mapping[str, Any]) -> StoredMessage:
    data = b64decode(message.get("data", ""))
    return StoredMessage(message["subject"], data, _unix_seconds(message["time"]), message["seq"])


def _consumer_request(verb: str, source: Source) -> Message:
    return Message(f"{API}.CONSUMER.{verb}.{stream_of(source)}.{consumer_of(source)}", b"")


def _consumer_info(answer: Mapping[str, Any]) -> ConsumerInfo | None:
    if "num_pending" not in answer:
        return None
    return ConsumerInfo(answer["num_pending"], answer["num_ack_pending"], answer["num_waiting"])


def _found(reply: Arrival, stream: str) -> dict[str, Any] | None:
    """Return the answer, or None where the server has no such message."""
    answer = _answer(reply)
    if "error" in answer and _is_missing(answer["error"]):
        return None
    return _unrefused(answer, stream)


def _checked(reply: Arrival, about: str) -> dict[str, Any]:
    return _unrefused(_answer(reply), about)


def _answer(reply: Arrival) -> dict[str, Any]:
    if reply.status is not None:
        raise QueueRefused(NO_JETSTREAM)
    answer: dict[str, Any] = from_json(reply.data)
    return answer


def _unrefused(answer: dict[str, Any], about: str) -> dict[str, Any]:
    if "error" in answer:
        raise _refusal(answer["error"], about)
    return answer


def _is_missing(error: Mapping[str, Any]) -> bool:
    code = error.get("err_code")
    if code == Code.DELETE_FAILED:
        return error.get("description") in NOTHING_TO_DELETE
    return code in (Code.NO_MESSAGE, Code.NO_SEQUENCE)


def _refusal(error: Mapping[str, Any], about: str) -> QueueRefused:
    refusal = refused(about, error.get("err_code"), error.get("description"))
    return Conflict(str(refusal)) if error.get("err_code") in WRITTEN_MEANWHILE else refusal


def _unix_seconds(stamp: str) -> float:
    """Return the server's stamp, RFC 3339, as unix seconds."""
    return datetime.fromisoformat(stamp).timestamp()
