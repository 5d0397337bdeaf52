"""Webhooks in this process: the outbox of events and the endpoints, stored as the same bytes as on NATS."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from fleet.logs import get_logger
from fleet.model.webhook import Announced, TakenEvent, WebhookDelivery, WebhookEndpoint
from queues.wire.letters import Message
from queues.wire.subjects import (
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    MSG_ID,
    delivery_subject,
    endpoint_subject,
)
from queues.wire.webhooks.endpoints import decode_endpoint, encode_endpoint
from queues.wire.webhooks.events import announcement, decode_event, delivery_message

log = get_logger(__name__)


class MemoryEndpoints:
    """Implements `fleet.webhooks.ports.EndpointStore` in this process, shared by its holders."""

    def __init__(self) -> None:
        self._stored: dict[str, tuple[bytes, int]] = {}
        self._revisions = itertools.count(1)

    async def list(self, tenant: str) -> Sequence[WebhookEndpoint]:
        prefix = endpoint_subject(tenant, "")
        found = [self._read(subject) for subject in self._stored if subject.startswith(prefix)]
        return [each[0] for each in found if each is not None]

    async def get(self, tenant: str, endpoint_id: str) -> tuple[WebhookEndpoint, int] | None:
        return self._read(endpoint_subject(tenant, endpoint_id))

    async def put(self, endpoint: WebhookEndpoint, revision: int) -> bool:
        subject = endpoint_subject(endpoint.tenant, endpoint.id)
        if self._stored.get(subject, (b"", 0))[1] != revision:
            return False
        self.store(subject, encode_endpoint(endpoint))
        return True

    async def delete(self, tenant: str, endpoint_id: str) -> bool:
        return self._stored.pop(endpoint_subject(tenant, endpoint_id), None) is not None

    def store(self, subject: str, body: bytes) -> None:
        """Store bytes, as a stranger could."""
        self._stored[subject] = body, next(self._revisions)

    def _read(self, subject: str) -> tuple[WebhookEndpoint, int] | None:
        body, revision = self._stored.get(subject, (b"", 0))
        if not body:
            return None
        try:
            return decode_endpoint(subject, body), revision
        except ValueError as error:
            log.warning("webhook_endpoint_left_out", subject=subject, problem=str(error))
            return None


@dataclass(slots=True, eq=False)
class _Waiting:
    """A message of the outbox, which may be taken from `free_at` on."""

    sequence: int
    message: Message
    stored_at: float
    free_at: float = 0.0


class MemoryEvents:
    """Implements `fleet.ports.EventOutbox` and `fleet.webhooks.ports.EventFeed` in this process.

    `now` gives unix seconds. What is in hand comes again after `lease_seconds`.
    """

    def __init__(self, now: Callable[[], float] = time.time, lease_seconds: float = 30.0) -> None:
        self._now = now
        self._lease_seconds = lease_seconds
        self._messages: dict[int, _Waiting] = {}
        self._known: set[str] = set()
        self._sequences = itertools.count(1)
        self._changed = asyncio.Event()

    async def announce(self, announced: Sequence[Announced]) -> None:
        for each in announced:
            self.store(announcement(each))

    def store(self, message: Message) -> None:
        """Store a message unless it is known, or another has been stored on its subject since."""
        headers = message.headers or {}
        last = max((each.sequence for each in self._on(message.subject)), default=0)
        expected = headers.get(EXPECTED_LAST_SUBJECT_SEQUENCE, str(last))
        if headers.get(MSG_ID) in self._known or expected != str(last):
            return
        if MSG_ID in headers:
            self._known.add(headers[MSG_ID])
        sequence = next(self._sequences)
        self._messages[sequence] = _Waiting(sequence, message, self._now())
        self.wake()

    def wake(self) -> None:
        """Let every waiting `take` look again, as after moving the clock given to the feed."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def take(self, limit: int, wait_seconds: float) -> Sequence[TakenEvent]:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                while not self._free():
                    await self._next_change()
        return self._taken(self._free()[:limit])

    async def _next_change(self) -> None:
        """Wait until something is stored, or comes back by this clock."""
        due = min((each.free_at for each in self._messages.values()), default=None)
        seconds = None if due is None else max(0.0, due - self._now())
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def _free(self) -> list[_Waiting]:
        return [each for each in self._messages.values() if each.free_at <= self._now()]

    def _taken(self, free: Sequence[_Waiting]) -> list[TakenEvent]:
        taken = []
        for each in free:
            try:
                body = decode_event(each.message.subject, each.message.data)
            except ValueError as error:
                log.warning("webhook_event_skipped", subject=each.message.subject, problem=str(error))
                del self._messages[each.sequence]
                continue
            each.free_at = self._now() + self._lease_seconds
            taken.append(TakenEvent(body, each.stored_at, each.sequence))
        return taken

    async def fan_out(self, event: TakenEvent, deliveries: Sequence[WebhookDelivery]) -> None:
        for delivery in deliveries:
            self.store(delivery_message(delivery, 0))
        await self.done(event)

    async def attempt_again(self, taken: TakenEvent, delivery: WebhookDelivery) -> None:
        self.store(delivery_message(delivery, _sequence_of(taken)))
        await self.done(taken)

    async def done(self, taken: TakenEvent) -> None:
        self._messages.pop(_sequence_of(taken), None)

    async def postpone(self, taken: TakenEvent, seconds: float) -> None:
        self._free_in(taken, seconds)
        self.wake()

    async def extend(self, taken: Sequence[TakenEvent]) -> None:
        for each in taken:
            self._free_in(each, self._lease_seconds)

    def _free_in(self, taken: TakenEvent, seconds: float) -> None:
        if (waiting := self._messages.get(_sequence_of(taken))) is not None:
            waiting.free_at = self._now() + seconds

    async def waiting(self, tenant: str, endpoint_id: str) -> int:
        prefix = delivery_subject(tenant, endpoint_id, "")
        return sum(each.message.subject.startswith(prefix) for each in self._messages.values())

    async def stored(self) -> int:
        return len(self._messages)

    async def close(self) -> None:
        """Do nothing: the outbox belongs to the process."""

    def _on(self, subject: str) -> list[_Waiting]:
        return [each for each in self._messages.values() if each.message.subject == subject]


def _sequence_of(taken: TakenEvent) -> int:
    if not isinstance(taken.token, int):
        raise TypeError("the event was taken by another feed")
    return taken.token
