"""The job queue on NATS JetStream."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nats.aio.msg import Msg
from pydantic_core import from_json, to_json

from fleet.model.delivery import Ack, AnyDelivery, Delivery, Post, Retry, Settlement, Source, Stored
from fleet.model.errors import QueueUnavailable
from fleet.model.result import Result
from queues.cells import WRITTEN_MEANWHILE
from queues.codec import decode
from queues.connection import DEFAULT_TIMEOUT_SECONDS, Connection, status_of
from queues.fence import displacing
from queues.inlet import NANOSECONDS, Inlet, hand_over_of
from queues.letters import Message, messages_of, traceparent_in
from queues.subjects import WORK, consumer_of, stream_of
from queues.topology import TopologySpec, ensure_consumer

MESSAGE_TOO_LARGE = 10054
HEADERS_TOO_LARGE = 10097
"""The codes that speak of the message and not of the stream: repeating it cannot help."""

CHUNK_BYTES = 16 * 1024 * 1024
CHUNK_MESSAGES = 4096
"""Sent before their replies are awaited: a stream refuses what exceeds 128 MB or 10,000 messages on the way to it."""


class JetStreamQueue:
    """`fleet.ports.JobQueue` on one connection. Takes from different sources run side by side."""

    def __init__(self, connection: Connection, ack_wait_seconds: float = TopologySpec().ack_wait_seconds) -> None:
        self._connection = connection
        self._ack_wait_seconds = ack_wait_seconds
        self._inlets: dict[Source, Inlet] = {}
        self._locks: dict[Source, asyncio.Lock] = {}

    async def take(self, source: Source, limit: int, wait_seconds: float) -> Sequence[AnyDelivery]:
        # One pull at a time and source: messages do not say which pull they answer.
        async with self._locks.setdefault(source, asyncio.Lock()):
            inlet = self._inlets.get(source) or await self._open_inlet(source)
            try:
                messages = await inlet.pull(limit, wait_seconds, DEFAULT_TIMEOUT_SECONDS)
            except (QueueUnavailable, asyncio.CancelledError):
                del self._inlets[source]
                await inlet.close()
                raise
        return [_delivery(source, message) for message in messages]

    async def _open_inlet(self, source: Source) -> Inlet:
        await ensure_consumer(self._connection.nats.jetstream(), source, self._ack_wait_seconds)
        inlet = self._inlets[source] = Inlet(self._connection, stream_of(source), consumer_of(source))
        return inlet

    async def publish(self, posts: Sequence[Post]) -> Sequence[Stored]:
        messages = messages_of(posts, self._connection.max_bytes)
        stored = await store(self._connection, messages)
        kept_out = [
            (index, message)
            for index, (post, message) in enumerate(zip(posts, messages, strict=True))
            if isinstance(post.letter, Result) and stored[index] is Stored.REPEAT and message is not None
        ]
        if kept_out:
            await self._overwrite_what_is_no_result(stored, kept_out)
        return stored

    async def _overwrite_what_is_no_result(self, stored: list[Stored], kept_out: Sequence[tuple[int, Message]]) -> None:
        replacing = await displacing(self._connection, [message for _, message in kept_out])
        due = [(index, message) for (index, _), message in zip(kept_out, replacing, strict=True) if message is not None]
        for (index, _), again in zip(due, await store(self._connection, [message for _, message in due]), strict=True):
            stored[index] = again

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        await self._tell([(settlement.delivery, _verdict(settlement)) for settlement in settlements])

    async def extend(self, deliveries: Sequence[AnyDelivery]) -> None:
        await self._tell([(delivery, b"+WPI") for delivery in deliveries])

    async def _tell(self, words: Sequence[tuple[AnyDelivery, bytes]]) -> None:
        """Send one word about each delivery and wait until the server has taken it in."""
        replies = await self._connection.exchange([Message(str(delivery.token), word) for delivery, word in words])
        if any(status_of(reply) is not None for reply in replies):
            raise QueueUnavailable("the consumer that made the delivery is gone")

    async def depths(self) -> Mapping[str, int]:
        depths: Counter[str] = Counter()
        offset, total = 0, 1
        while offset < total:
            query = to_json({"subjects_filter": "work.>", "offset": offset})
            [reply] = await self._connection.exchange([Message(f"$JS.API.STREAM.INFO.{WORK}", query)])
            answer = _checked(reply)
            subjects: dict[str, int] = answer["state"].get("subjects") or {}
            for subject, messages in subjects.items():
                depths[subject.split(".", 2)[1]] += messages
            offset, total = offset + len(subjects), answer.get("total", 0) if subjects else 0
        return depths


async def store(connection: Connection, messages: Sequence[Message | None]) -> list[Stored]:
    """Publish all; None stands for one that has no message and is refused like one that is too large.

    Raises: QueueUnavailable if any of them was not confirmed; what was stored stays, and a repeat is recognised.
    """
    stored = [Stored.REFUSED] * len(messages)
    for chunk in _chunks(messages, connection.max_message_bytes):
        replies = await connection.exchange([message for _, message in chunk])
        for (index, _), reply in zip(chunk, replies, strict=True):
            stored[index] = _stored(reply)
    return stored


def _chunks(messages: Sequence[Message | None], max_message_bytes: int) -> Iterator[list[tuple[int, Message]]]:
    """Those the server takes, each with its index, in portions it can hold."""
    chunk: list[tuple[int, Message]] = []
    chunk_bytes = 0
    for index, message in enumerate(messages):
        # A message beyond its limit makes the server close the connection on everybody.
        if message is None or message.size_bytes > max_message_bytes:
            continue
        if chunk and (chunk_bytes + message.size_bytes > CHUNK_BYTES or len(chunk) == CHUNK_MESSAGES):
            yield chunk
            chunk, chunk_bytes = [], 0
        chunk.append((index, message))
        chunk_bytes += message.size_bytes
    if chunk:
        yield chunk


def _stored(reply: Msg) -> Stored:
    if status_of(reply) is not None:
        raise QueueUnavailable("no stream takes the subject")
    ack = from_json(reply.data)
    error = ack.get("error")
    if error is None:
        return Stored.REPEAT if ack.get("duplicate", False) else Stored.NEW
    code = error.get("err_code")
    if code in WRITTEN_MEANWHILE:
        return Stored.REPEAT
    if code in (MESSAGE_TOO_LARGE, HEADERS_TOO_LARGE):
        return Stored.REFUSED
    raise QueueUnavailable(f"JetStream: {error.get('description')}")


def _checked(reply: Msg) -> dict[str, Any]:
    if status_of(reply) is not None:
        raise QueueUnavailable("JetStream does not answer")
    answer: dict[str, Any] = from_json(reply.data)
    if "error" in answer:
        raise QueueUnavailable(f"JetStream: {answer['error'].get('description')}")
    return answer


def _verdict(settlement: Settlement) -> bytes:
    match settlement:
        case Ack():
            return b"+ACK"
        case Retry(delay_seconds=delay_seconds) if delay_seconds > 0:
            return b'-NAK {"delay": %d}' % int(delay_seconds * NANOSECONDS)
        case Retry():
            return b"-NAK"


def _delivery(source: Source, message: Msg) -> AnyDelivery:
    about = hand_over_of(message.reply)
    headers = message.headers
    return Delivery(
        body=decode(source, message.data, headers, message.subject, about.stored_at),
        source=source,
        deliveries=about.deliveries,
        stored_at=about.stored_at,
        traceparent=traceparent_in(headers),
        raw=message.data,
        token=message.reply,
    )
