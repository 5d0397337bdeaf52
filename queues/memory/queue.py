"""The dispatcher's side of the queue in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace

from fleet.model.delivery import (
    Ack,
    AnyDelivery,
    Committed,
    Delivery,
    Depths,
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
from fleet.model.result import Malformed, Outbound, Sealed, Work
from queues.commit import commit
from queues.jetstream.consuming.sealing import body_of
from queues.jetstream.stores.load import MemoryLoads
from queues.memory.broker import LeasedMessage, MemoryBroker
from queues.reading import in_slices
from queues.wire.codec import decode
from queues.wire.letters import HEADER_ROOM_BYTES, message_or_none, traceparent_in
from queues.wire.parcels import parcel_of
from queues.wire.subjects import job_subject


class MemoryQueue:
    """`fleet.ports.JobQueue` on a MemoryBroker."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.reading = asyncio.Lock()

    async def take(self, source: Source, limit: int, wait_seconds: float) -> Sequence[AnyDelivery]:
        until = time.monotonic() + wait_seconds
        while not (taken := self._broker.lease(source, limit)):
            left = until - time.monotonic()
            if left <= 0:
                return []
            self._broker.takers[source] += 1
            try:
                await self._broker.changed(source, left)
            finally:
                self._broker.takers[source] -= 1
        return await in_slices(taken, lambda held: _delivery(source, held), self.reading)

    def read(self, delivery: AnyDelivery) -> AnyDelivery:
        is_sealed = isinstance(delivery.body, Sealed)
        return replace(delivery, body=_read(delivery.source, _held(delivery))) if is_sealed else delivery

    async def begun(self, deliveries: Sequence[AnyDelivery]) -> Sequence[int]:
        return [self._broker.readings.get(_held(delivery).number, 0) for delivery in deliveries]

    async def note_begun(self, deliveries: Sequence[AnyDelivery], readings: int) -> None:
        self._broker.readings |= {_held(delivery).number: readings for delivery in deliveries}

    async def commit(self, transitions: Sequence[Transition]) -> Sequence[Committed]:
        return await commit(transitions, self._store_all, self.settle)

    async def publish(self, outbound: Sequence[Outbound]) -> Sequence[Stored]:
        return await self._store_all([(each, None) for each in outbound])

    async def _store_all(self, outbound: Sequence[tuple[Outbound, str | None]]) -> Sequence[Stored]:
        return [self.store(each, traceparent) for each, traceparent in outbound]

    def store(self, outbound: Outbound, traceparent: str | None) -> Stored:
        """Store one message; everything published or committed passes here."""
        limit = self._broker.max_message_bytes
        message = message_or_none(outbound, traceparent, limit - HEADER_ROOM_BYTES)
        if (parcel := parcel_of(outbound, message, limit)) is not None:
            for content in parcel.contents:
                self._broker.store(content)
            message = parcel.message
        return Stored.REFUSED if message is None else self._broker.store(message)

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        for settlement in settlements:
            held = _held(settlement.delivery)
            match settlement:
                case Ack():
                    self._broker.end(held)
                case Retry(delay_seconds=delay_seconds):
                    self._broker.release(held, delay_seconds)

    async def extend(self, deliveries: Sequence[AnyDelivery]) -> None:
        for delivery in deliveries:
            self._broker.extend(_held(delivery))

    async def depths(self) -> Depths:
        return self._broker.depths()

    async def awaited(self, targets: Collection[str]) -> Collection[str]:
        return {target for target in targets if any(self._broker.takers[WorkOf(target, lane)] for lane in Lane)}

    async def oldest(self, sources: Sequence[Source]) -> Sequence[float | None]:
        return [self._broker.oldest(source) for source in sources]

    def loads(self) -> MemoryLoads:
        return self._broker.loads

    async def arrivals(self) -> AsyncIterator[JobsOf]:
        async for message in self._broker.listen(job_subject(Lane.INTERACTIVE, "")):
            yield JobsOf(Lane.INTERACTIVE, message.subject.rpartition(".")[2])


def _held(delivery: AnyDelivery) -> LeasedMessage:
    if not isinstance(delivery.token, LeasedMessage):
        raise QueueUnavailable("the delivery was made by another queue")
    return delivery.token


def _delivery(source: Source, held: LeasedMessage) -> AnyDelivery:
    message = held.message
    headers = message.headers or {}
    return Delivery(
        body=body_of(lambda: _read(source, held), source, message, headers, held.deliveries),
        source=source,
        deliveries=held.deliveries,
        stored_at=held.stored_at,
        traceparent=traceparent_in(headers),
        raw=message.data,
        token=held,
    )


def _read(source: Source, held: LeasedMessage) -> Job | Work | Malformed:
    message = held.message
    return decode(source, message.data, message.headers or {}, message.subject, held.stored_at)
