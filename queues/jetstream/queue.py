"""The job queue on NATS JetStream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from pydantic_core import from_json

from fleet import faults
from fleet.logs import get_logger
from fleet.model.delivery import (
    Ack,
    AnyDelivery,
    Committed,
    Delivery,
    Depths,
    Fill,
    JobsOf,
    Retry,
    Settlement,
    Source,
    Stored,
    Transition,
    WorkOf,
)
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Job, Lane
from fleet.model.result import Malformed, Outbound, Result, Sealed, Work
from queues.commit import commit
from queues.jetstream import api
from queues.jetstream.causes import refused, stored_elsewhere
from queues.jetstream.client.connection import Connection
from queues.jetstream.client.frames import Arrival
from queues.jetstream.codes import TOO_LARGE, WRITTEN_MEANWHILE
from queues.jetstream.consuming.consumers import TooManyConsumers, ensure_consumer
from queues.jetstream.consuming.inlet import NANOSECONDS, ConsumerGone, Inlet, hand_over_of
from queues.jetstream.consuming.inlets import Inlets
from queues.jetstream.consuming.sealing import Readings, body_of, record_of
from queues.jetstream.consuming.tokens import VOID, Token, look_up
from queues.jetstream.fence import displacing
from queues.jetstream.maintenance.forgotten import Forgotten
from queues.jetstream.maintenance.strays import Stray, Strays, is_stray
from queues.jetstream.stores.load import JetStreamLoads
from queues.reading import in_slices
from queues.wire.codec import decode
from queues.wire.letters import Message, message_or_none, traceparent_in
from queues.wire.parcels import parcel_of
from queues.wire.subjects import (
    JOBS,
    START_SUBJECTS,
    STARTS,
    WORK,
    arrival_subject,
    depths_of,
    filter_of,
    stream_for,
    stream_of,
)

ACK = b"+ACK"

LISTEN_AGAIN_SECONDS = 2.0
"""Seconds to wait after an outage, or if this login may not listen; depths tell of new jobs too, a little later."""

CHUNK_BYTES = 16 * 1024 * 1024
CHUNK_MESSAGES = 4096
"""Messages sent before replies are awaited: a stream refuses beyond 128 MB or 10,000 messages on the way to it."""


log = get_logger(__name__)


class JetStreamQueue:
    """Implements `fleet.ports.JobQueue` on one connection. Takes from different sources run side by side."""

    def __init__(self, connection: Connection, ack_wait_seconds: float = 30.0) -> None:
        self._connection = connection
        self._ack_wait_seconds = ack_wait_seconds
        self._inlets = Inlets(connection)
        self._strays = Strays(connection)
        self._forgotten = Forgotten(connection)
        self._readings = Readings(connection)
        self.reading = asyncio.Lock()

    async def take(self, source: Source, limit: int, wait_seconds: float) -> Sequence[AnyDelivery]:
        if is_stray(source):
            found = await self._strays.take(limit)
            await asyncio.sleep(0 if found else wait_seconds)
            return found
        # One pull at a time and source: messages do not say which pull they answer.
        async with self._inlets.lock(source):
            try:
                messages, generation = await self._pull(source, limit, wait_seconds)
            except ConsumerGone:  # idle ones go away; one is made again, once
                messages, generation = await self._pull(source, limit, wait_seconds)
        deliveries = await in_slices(messages, lambda each: _delivery(source, each, generation), self.reading)
        self._inlets.took(source, deliveries)
        if not deliveries:
            await self._inlets.clear_delayed()
        return deliveries

    async def _pull(self, source: Source, limit: int, wait_seconds: float) -> tuple[list[Arrival], int]:
        inlet = self._inlets.get(source) or await self._open_inlet(source)
        try:
            return await inlet.pull(limit, wait_seconds, self._connection.timeout_seconds), inlet.generation
        except (QueueUnavailable, asyncio.CancelledError):
            self._inlets.drop(source)
            await inlet.close()
            raise

    async def _open_inlet(self, source: Source) -> Inlet:
        await self._inlets.make_room(source)
        js = self._connection.nats.jetstream()
        try:
            await ensure_consumer(js, source, self._ack_wait_seconds)
        except TooManyConsumers:
            await self._inlets.make_room(source, at_once=True)
            await ensure_consumer(js, source, self._ack_wait_seconds)
        return self._inlets.open(source)

    def read(self, delivery: AnyDelivery) -> AnyDelivery:
        sealed = delivery.body
        if not isinstance(sealed, Sealed) or not isinstance(sealed.arrived, Arrival):
            return delivery
        return replace(
            delivery, body=_read(delivery.source, sealed.arrived, sealed.arrived.headers, delivery.stored_at)
        )

    async def begun(self, deliveries: Sequence[AnyDelivery]) -> Sequence[int]:
        return await self._readings.begun(deliveries)

    async def note_begun(self, deliveries: Sequence[AnyDelivery], readings: int) -> None:
        await store(self._connection, [record_of(delivery, readings) for delivery in deliveries])

    async def commit(self, transitions: Sequence[Transition]) -> Sequence[Committed]:
        return await commit(transitions, self._store, self.settle)

    async def publish(self, outbound: Sequence[Outbound]) -> Sequence[Stored]:
        return await self._store([(each, None) for each in outbound])

    async def _store(self, outbound: Sequence[tuple[Outbound, str | None]]) -> Sequence[Stored]:
        max_bytes, limit = self._connection.max_bytes, self._connection.max_message_bytes
        messages = [message_or_none(each, traceparent, max_bytes) for each, traceparent in outbound]
        for index, ((each, _), message) in enumerate(zip(outbound, messages, strict=True)):
            if (parcel := parcel_of(each, message, limit)) is not None:
                # First what the result points at: readers of the one must find the other.
                await store(self._connection, parcel.contents)
                messages[index] = parcel.message
        stored = await store(self._connection, messages)
        kept_out = [
            (index, message)
            for index, ((each, _), message) in enumerate(zip(outbound, messages, strict=True))
            if isinstance(each, Result) and stored[index] is Stored.REPEAT and message is not None
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
        await self._inlets.handed_back([each for each in settlements if isinstance(each, Retry)])

    async def extend(self, deliveries: Sequence[AnyDelivery]) -> None:
        await self._tell([(delivery, b"+WPI") for delivery in deliveries])

    async def _tell(self, words: Sequence[tuple[AnyDelivery, bytes]]) -> None:
        """Send one word about each delivery that still holds, and wait until the server has taken it in."""
        tokens = [delivery.token for delivery, _ in words if isinstance(delivery.token, Token)]
        generation = await look_up(self._connection, tokens)
        messages = [_told(delivery.token, word) for delivery, word in words]
        told = [message for message in messages if message is not None]
        try:
            replies = await self._connection.exchange(told, generation=generation)
            if any(reply.status is not None for reply in replies):
                raise QueueUnavailable("the consumer that made the delivery is gone")
        except QueueUnavailable:
            for token in tokens:
                token.doubt()  # a server this connection does not lead to may have made the stream again
            raise

    async def depths(self) -> Depths:
        (jobs, at, jobs_fill), (work, _, work_fill) = await asyncio.gather(self._subjects(JOBS), self._subjects(WORK))
        depths = replace(depths_of(jobs, work), at=at, jobs_fill=jobs_fill, work_fill=work_fill)
        await self._forgotten.look(depths)
        return depths

    async def awaited(self, targets: Collection[str]) -> Collection[str]:
        sources = [WorkOf(target, lane) for target in sorted(targets) for lane in Lane]
        found = await api.consumer_info(self._connection, sources)
        return {source.target for source, info in zip(sources, found, strict=True) if info and info.num_waiting > 0}

    async def oldest(self, sources: Sequence[Source]) -> Sequence[float | None]:
        places = [(stream_of(source), filter_of(source)) for source in sources]
        found = await api.first_by_subject(self._connection, places)
        return [None if message is None else message.stored_at for message in found]

    def loads(self) -> JetStreamLoads:
        return JetStreamLoads(self._connection)

    async def arrivals(self) -> AsyncIterator[JobsOf]:
        while True:
            try:
                async for message in self._connection.listen(arrival_subject("*")):
                    yield JobsOf(Lane.INTERACTIVE, message.subject.rpartition(".")[2])
            except QueueUnavailable as error:
                log.debug("arrivals_not_heard", error=str(error))
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)

    async def _subjects(self, stream: str) -> tuple[Mapping[str, int], float | None, Fill]:
        """Return messages by subject, the server's time and the fill; one answer lists at most 100,000 subjects."""
        counts: dict[str, int] = {}
        offset, total, at, fill = 0, 1, None, Fill()
        while offset < total:
            info = await api.stream_info(self._connection, stream, ">", offset, "the fleet's streams")
            counts |= info.subjects
            at, fill = info.at, Fill(info.bytes, info.max_bytes)
            offset, total = offset + len(info.subjects), info.total if info.subjects else 0
        return counts, at, fill


async def store(connection: Connection, messages: Sequence[Message | None]) -> list[Stored]:
    """Publish all; None stands for a message that could not be made, and is refused like one that is too large.

    Raises: QueueUnavailable if any of them was not confirmed; what was stored stays, and a repeat is recognised.
    """
    stored = [Stored.REFUSED] * len(messages)
    for chunk in _chunks(messages, connection.max_message_bytes):
        replies = await connection.exchange([message for _, message in chunk])
        for (index, message), reply in zip(chunk, replies, strict=True):
            if reply.status is not None:
                raise await api.nobody_takes(connection, message.subject)
            stored[index] = _stored(reply, message.subject)
            if stored[index] is Stored.REPEAT and message.subject.startswith(START_SUBJECTS):
                stored[index] = await _whose(connection, message)
        faults.point("queue.stored")
    return stored


def _chunks(messages: Sequence[Message | None], max_message_bytes: int) -> Iterator[list[tuple[int, Message]]]:
    """Yield the messages that the server takes, each with its index, in portions it can hold."""
    chunk: list[tuple[int, Message]] = []
    chunk_bytes = 0
    for index, message in enumerate(messages):
        # A message beyond its limit makes the server close the connection for everybody.
        if message is None or (size := message.size_bytes) > max_message_bytes:
            continue
        full = len(chunk) == (1 if faults.splits_letters else CHUNK_MESSAGES)
        if chunk and (chunk_bytes + size > CHUNK_BYTES or full):
            yield chunk
            chunk, chunk_bytes = [], 0
        chunk.append((index, message))
        chunk_bytes += size
    if chunk:
        yield chunk


async def _whose(connection: Connection, start: Message) -> Stored:
    """Return NEW if the record there is this very one, stored by an earlier try whose confirmation was lost."""
    [found] = await api.last_by_subject(connection, STARTS, [start.subject])
    if found is None:
        raise QueueUnavailable(f"{start.subject}: recorded before, and gone")
    return Stored.NEW if found.data == start.data else Stored.REPEAT


def _stored(reply: Arrival, subject: str) -> Stored:
    ack = from_json(reply.data)
    error = ack.get("error")
    if error is None:
        if ack.get("stream") != (expected := stream_for(subject)):
            raise stored_elsewhere(subject, ack.get("stream"), expected)
        return Stored.REPEAT if ack.get("duplicate", False) else Stored.NEW
    code = error.get("err_code")
    if code in WRITTEN_MEANWHILE:
        return Stored.REPEAT
    if code in TOO_LARGE:
        return Stored.REFUSED
    raise refused(subject, code, error.get("description"))


def _told(token: object, word: bytes) -> Message | None:
    """Return the message that says so. A stray, without a lease, can only be removed; a void token has none."""
    if isinstance(token, Stray):
        return token.removal() if word == ACK else None
    if isinstance(token, Token) and token.generation == VOID:
        return None
    return Message(str(token), word)


def _verdict(settlement: Settlement) -> bytes:
    match settlement:
        case Ack():
            return ACK
        case Retry(delay_seconds=delay_seconds) if delay_seconds > 0:
            return b'-NAK {"delay": %d}' % int(delay_seconds * NANOSECONDS)
        case Retry():
            return b"-NAK"


def _delivery(source: Source, message: Arrival, generation: int) -> AnyDelivery:
    about = hand_over_of(message.reply)
    headers, at = message.headers, about.stored_at
    return Delivery(
        body=body_of(lambda: _read(source, message, headers, at), source, message, headers, about.deliveries),
        source=source,
        deliveries=about.deliveries,
        stored_at=about.stored_at,
        traceparent=traceparent_in(headers),
        raw=message.data,
        token=Token(message.reply, generation),
    )


def _read(source: Source, message: Arrival, headers: dict[str, str] | None, stored_at: float) -> Job | Work | Malformed:
    return decode(source, message.data, headers, message.subject, stored_at)
