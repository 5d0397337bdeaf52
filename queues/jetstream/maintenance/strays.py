"""Jobs whose subject names no valid tenant, so that no consumer's filter can match them.

Only a publisher with a right to more than its own subject can send one. A stray is found by its place in the stream and
removed by it, so that it is answered like any other malformed job and does not stay for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleet.model.delivery import AnyDelivery, Delivery, JobsOf, Source
from fleet.model.job import TENANT, Lane
from queues.jetstream import api
from queues.jetstream.client.connection import Connection
from queues.wire.codec import decode
from queues.wire.letters import Message
from queues.wire.subjects import JOBS

SCANNED_AT_ONCE = 256
SCANNED_PER_TAKE = 4096


@dataclass(frozen=True, slots=True)
class Stray:
    """The place of a stray message."""

    sequence: int

    def removal(self) -> Message:
        return api.deletion(JOBS, self.sequence, erase=False)


class Strays:
    """Looks through the stream once, then through what is new. Nothing is leased: a repetition does no harm."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._seen = 0

    async def take(self, limit: int) -> list[AnyDelivery]:
        """Return the strays among the next few thousand messages, and stop at `limit` or a few more.

        Raises: QueueUnavailable if the stream cannot be read.
        """
        info = await api.stream_info(self._connection, JOBS)
        last = info.last_sequence
        # A restored store gives out the same places again.
        first = max(info.first_sequence, min(self._seen, last) + 1)
        found: list[AnyDelivery] = []
        for start in range(first, min(last + 1, first + SCANNED_PER_TAKE), SCANNED_AT_ONCE):
            end = min(last + 1, start + SCANNED_AT_ONCE)
            found += await self._look_at(range(start, end))
            self._seen = end - 1
            if len(found) >= limit:
                break
        return found

    async def _look_at(self, sequences: range) -> list[AnyDelivery]:
        found = await api.get(self._connection, [(JOBS, sequence) for sequence in sequences])
        deliveries = [_delivery(message) for message in found if message is not None]
        return [delivery for delivery in deliveries if is_stray(delivery.source)]


def is_stray(source: Source) -> bool:
    return isinstance(source, JobsOf) and source.tenant is not None and TENANT.fullmatch(source.tenant) is None


def _delivery(message: api.StoredMessage) -> AnyDelivery:
    _, lane, tenant = message.subject.split(".", 2)
    source = JobsOf(Lane(lane), tenant)
    body = decode(source, message.data, None, message.subject, message.stored_at)
    return Delivery(body, source, 1, message.stored_at, raw=message.data, token=Stray(message.sequence))
