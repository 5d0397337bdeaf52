"""The outbox of events: a work queue in which an event waits until all its endpoints have been told, or given up."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig

from fleet.logs import get_logger
from fleet.model.errors import QueueUnavailable
from fleet.model.webhook import Announced, TakenEvent, WebhookDelivery
from queues.jetstream import api
from queues.jetstream.causes import unanswered
from queues.jetstream.client.connection import Connection
from queues.jetstream.client.frames import Arrival
from queues.jetstream.consuming.inlet import NANOSECONDS, Inlet, hand_over_of
from queues.jetstream.queue import store
from queues.wire.letters import Message
from queues.wire.subjects import EVENTS, delivery_subject
from queues.wire.webhooks.events import announcement, decode_event, delivery_message

CONSUMER = "webhooks"
"""The name of the durable consumer."""

BEYOND_ALL = 1 << 40
"""An offset in a list of subjects behind its end: the answer then has their number and none of them."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Token:
    """The subject to settle a message on, which holds until the connection breaks."""

    reply: str
    generation: int


class JetStreamOutbox:
    """Implements `fleet.ports.EventOutbox` on the stream EVENTS, which the topology makes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def announce(self, announced: Sequence[Announced]) -> None:
        await store(self._connection, [announcement(each) for each in announced])


class JetStreamEvents:
    """Implements `fleet.webhooks.ports.EventFeed` on one connection. What is in hand comes again after the lease."""

    def __init__(self, connection: Connection, lease_seconds: float) -> None:
        self._connection = connection
        self._lease_seconds = lease_seconds
        self._inlet: Inlet | None = None

    async def take(self, limit: int, wait_seconds: float) -> Sequence[TakenEvent]:
        inlet = await self._opened()
        try:
            messages = await inlet.pull(limit, wait_seconds, self._connection.timeout_seconds)
        except BaseException:
            self._inlet = None
            await inlet.close()
            raise
        taken, strange = [], []
        for message in messages:
            token = _Token(message.reply, inlet.generation)
            try:
                taken.append(_taken(message, token))
            except ValueError as error:
                log.warning("webhook_event_skipped", subject=message.subject, problem=str(error))
                strange.append(token)
        await self._ack(strange)
        return taken

    async def fan_out(self, event: TakenEvent, deliveries: Sequence[WebhookDelivery]) -> None:
        await store(self._connection, [delivery_message(delivery, 0) for delivery in deliveries])
        await self.done(event)

    async def attempt_again(self, taken: TakenEvent, delivery: WebhookDelivery) -> None:
        sequence = hand_over_of(_token_of(taken).reply).sequence
        await store(self._connection, [delivery_message(delivery, sequence)])
        await self.done(taken)

    async def done(self, taken: TakenEvent) -> None:
        await self._ack([_token_of(taken)])

    async def _ack(self, tokens: Sequence[_Token]) -> None:
        for token in tokens:
            words = [Message(token.reply, b"+ACK")]
            [reply] = await self._connection.exchange(words, generation=token.generation)
            if reply.status is not None:
                raise QueueUnavailable("the consumer of the events is gone")

    async def postpone(self, taken: TakenEvent, seconds: float) -> None:
        await self._tell(taken, b'-NAK {"delay": %d}' % int(seconds * NANOSECONDS))

    async def extend(self, taken: Sequence[TakenEvent]) -> None:
        for each in taken:
            await self._tell(each, b"+WPI")

    async def _tell(self, taken: TakenEvent, word: bytes) -> None:
        token = _token_of(taken)
        if token.generation == self._connection.generation:  # else it comes again by itself
            await self._connection.send(Message(token.reply, word))

    async def waiting(self, tenant: str, endpoint_id: str) -> int:
        subjects = delivery_subject(tenant, endpoint_id, "*")
        return (await api.stream_info(self._connection, EVENTS, subjects, BEYOND_ALL)).total

    async def stored(self) -> int:
        return (await api.stream_info(self._connection, EVENTS)).messages

    async def close(self) -> None:
        if self._inlet is not None:
            with suppress(QueueUnavailable):
                await self._inlet.close()

    async def _opened(self) -> Inlet:
        if self._inlet is None:
            config = ConsumerConfig(
                # Only with both names does the server check the caller's permissions.
                name=CONSUMER,
                durable_name=CONSUMER,
                ack_wait=self._lease_seconds,
                max_deliver=-1,
                max_ack_pending=-1,
            )
            try:
                await self._connection.nats.jetstream().add_consumer(EVENTS, config)
            except NatsError as error:
                raise unanswered(f"consumer {CONSUMER} of {EVENTS}", error) from error
            self._inlet = Inlet(self._connection, EVENTS, CONSUMER)
        return self._inlet


def _taken(message: Arrival, token: _Token) -> TakenEvent:
    body = decode_event(message.subject, message.data)
    return TakenEvent(body, hand_over_of(message.reply).stored_at, token)


def _token_of(taken: TakenEvent) -> _Token:
    if not isinstance(taken.token, _Token):
        raise TypeError("the event was taken by another feed")
    return taken.token
