"""Contents off their stream, each until somebody has stored it."""

from __future__ import annotations

from collections.abc import Sequence

from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig

from fleet.logs import get_logger
from fleet.model.content import Content
from queues.jetstream.causes import unanswered
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.client.frames import Arrival
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.consuming.inlet import Inlet
from queues.wire.content import decode_content
from queues.wire.letters import Message
from queues.wire.subjects import CONTENT

CONSUMER = "content"
"""The name of the durable consumer."""

ACK_WAIT_SECONDS = 60.0
"""Seconds until a content that was taken and not stored is handed out again; stored twice it changes nothing."""

log = get_logger(__name__)


class JetStreamContents:
    """Implements `fleet.content.collector.ContentFeed` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inlet: Inlet | None = None
        self._taken: Sequence[Arrival] = ()

    @classmethod
    async def connect(cls, url: str, login: Login = ANONYMOUS) -> JetStreamContents:
        """Return a feed on a connection of its own, closed with it. Raises: QueueUnavailable."""
        return cls(await connect(url, name="fleet-content", login=login))

    async def take(self, limit: int, wait_seconds: float) -> Sequence[Content]:
        inlet = await self._opened()
        try:
            self._taken = await inlet.pull(limit, wait_seconds, self._connection.timeout_seconds)
        except BaseException:
            self._inlet = None
            await inlet.close()
            raise
        return [content for message in self._taken for content in _read(message)]

    async def stored(self) -> None:
        for message in self._taken:
            await self._connection.send(Message(message.reply, b"+ACK"))
        self._taken = ()

    async def close(self) -> None:
        await self._connection.close()

    async def _opened(self) -> Inlet:
        if self._inlet is None:
            config = ConsumerConfig(
                # Only with both names does the server check the caller's permissions.
                name=CONSUMER,
                durable_name=CONSUMER,
                ack_wait=ACK_WAIT_SECONDS,
                max_deliver=-1,
                max_ack_pending=-1,
            )
            try:
                await self._connection.nats.jetstream().add_consumer(CONTENT, config)
            except NatsError as error:
                raise unanswered(f"consumer {CONSUMER} of {CONTENT}", error) from error
            self._inlet = Inlet(self._connection, CONTENT, CONSUMER)
        return self._inlet


def _read(message: Arrival) -> list[Content]:
    """Return the content; none if a stranger has sent something else, which is forgotten with the others."""
    try:
        return [decode_content(message.data)]
    except (ValueError, AttributeError) as error:
        log.warning("content_skipped", subject=message.subject, problem=str(error))
        return []
