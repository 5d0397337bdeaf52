"""The lines of accounts in the order of their stream, each once, for the writer of the ledger's database.

The database knows up to where it has written, and the writer starts there. So the consumer's own memory does not count:
it is made again at each start, and acknowledged so that everybody can see on the broker how far behind the writer is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from fleet.model.errors import LoginRefused, QueueUnavailable
from fleet.model.result import LedgerLine, LedgerStream
from queues.jetstream.causes import unanswered
from queues.jetstream.client.connection import BROKEN, Connection, connect
from queues.jetstream.client.frames import Arrival
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.consuming.inlet import Inlet, consumer_sequence_of, hand_over_of
from queues.memory import MemoryBroker
from queues.wire.letters import Message
from queues.wire.subjects import LEDGER, MSG_ID, ledger_subject

CONSUMER = "ledger"
"""The name of the durable consumer."""

ACK_WAIT_SECONDS = 3600.0
"""Seconds until the broker repeats what is not acknowledged. A repeat is recognised and left out."""

_SUBJECT = ledger_subject("")


class JetStreamLedger:
    """Implements `fleet.ports.LedgerFeed` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inlet: Inlet | None = None
        self._generation = connection.generation
        self._next = 1
        self._taken = 0
        self._replies: dict[int, str] = {}

    @classmethod
    async def connect(cls, url: str, login: Login = ANONYMOUS) -> JetStreamLedger:
        """Return a feed on a connection of its own, closed with it. Raises: QueueUnavailable."""
        return cls(await connect(url, name="fleet-ledger", login=login))

    async def begin(self, after: int, since: float | None = None) -> LedgerStream:
        self._check_open()
        await self._end()
        self._generation = self._connection.generation
        try:
            await self._make_consumer(after, since)
        except NatsError as error:
            raise unanswered(f"consumer {CONSUMER} of {LEDGER}", error) from error
        self._next, self._taken = 1, after if since is None else 0
        self._inlet = Inlet(self._connection, LEDGER, CONSUMER)
        return await self.stream()

    async def _make_consumer(self, after: int, since: float | None) -> None:
        js = self._connection.nats.jetstream()
        with suppress(NotFoundError):
            await js.delete_consumer(LEDGER, CONSUMER)
        config = ConsumerConfig(
            # Only with both names does the server check the caller's permissions.
            name=CONSUMER,
            durable_name=CONSUMER,
            ack_policy=AckPolicy.ALL,
            ack_wait=ACK_WAIT_SECONDS,
            max_ack_pending=-1,
            **_start(after, since),
        )
        await js.add_consumer(LEDGER, config)

    async def take(self, limit: int, wait_seconds: float) -> Sequence[LedgerLine]:
        self._check_generation()
        assert self._inlet is not None, "`begin` made it"
        messages = await self._inlet.pull(limit, wait_seconds, self._connection.timeout_seconds)
        self._check_generation()
        taken = [line for message in messages if (line := self._next_line(message)) is not None]
        if taken:
            self._replies[taken[-1].sequence] = messages[-1].reply
        return taken

    def _check_generation(self) -> None:
        """Raises: QueueUnavailable if the connection broke since `begin`: deliveries may have been lost with it."""
        self._check_open()
        if self._inlet is None or self._connection.generation != self._generation:
            raise QueueUnavailable(BROKEN)

    def _check_open(self) -> None:
        """Raises: LoginRefused once nats-py has given the connection up for good, so that a supervisor restarts us."""
        if self._connection.nats.is_closed:
            raise LoginRefused("NATS ended the connection for good, as where a login is changed or expires")

    def _next_line(self, message: Arrival) -> LedgerLine | None:
        """Return the line, None for a repeat. Raises: QueueUnavailable if one before it never came."""
        if consumer_sequence_of(message.reply) != self._next:
            self._inlet = None
            raise QueueUnavailable("a delivery was lost on its way")
        self._next += 1
        about = hand_over_of(message.reply)
        if about.sequence <= self._taken:
            return None
        self._taken = about.sequence
        message_id = (message.headers or {}).get(MSG_ID)
        tenant = message.subject.removeprefix(_SUBJECT)
        return LedgerLine(about.sequence, about.stored_at, tenant, message_id, message.data)

    async def written(self, sequence: int) -> None:
        reply = self._replies.pop(sequence, None)
        if reply is not None and self._connection.generation == self._generation:
            await self._connection.send(Message(reply, b"+ACK"))

    async def stream(self) -> LedgerStream:
        js = self._connection.nats.jetstream()
        try:
            info = await js.stream_info(LEDGER)
            waiting = info.state.messages
            with suppress(NotFoundError):
                consumer = await js.consumer_info(LEDGER, CONSUMER)
                waiting = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
        except NatsError as error:
            raise unanswered(f"{LEDGER} cannot be read", error) from error
        return LedgerStream(str(info.created), info.state.first_seq, info.state.last_seq, waiting)

    async def _end(self) -> None:
        inlet, self._inlet = self._inlet, None
        self._replies.clear()
        if inlet is not None:
            await inlet.close()

    async def close(self) -> None:
        await self._end()
        await self._connection.close()


def _start(after: int, since: float | None) -> dict[str, Any]:
    if since is None:
        return {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": after + 1}
    return {
        "deliver_policy": DeliverPolicy.BY_START_TIME,
        "opt_start_time": datetime.fromtimestamp(max(0.0, since), UTC),
    }


class MemoryLedger:
    """Implements `fleet.ports.LedgerFeed` on a MemoryBroker, whose messages are counted from 1."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._taken = 0
        self._written = 0

    async def begin(self, after: int, since: float | None = None) -> LedgerStream:
        if since is not None:
            stored = [record.stored_at for record in self._broker.recorded("ledger")]
            after = next((place for place, at in enumerate(stored) if at >= since), len(stored))
        self._taken = self._written = after
        return await self.stream()

    async def take(self, limit: int, wait_seconds: float) -> Sequence[LedgerLine]:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                while len(self._broker.recorded("ledger")) <= self._taken:
                    await self._broker.next_change()
        found = self._broker.recorded("ledger")[self._taken : self._taken + limit]
        first, self._taken = self._taken + 1, self._taken + len(found)
        return [
            LedgerLine(
                number,
                record.stored_at,
                record.message.subject.removeprefix(_SUBJECT),
                (record.message.headers or {}).get(MSG_ID),
                record.message.data,
            )
            for number, record in enumerate(found, first)
        ]

    async def written(self, sequence: int) -> None:
        self._written = sequence

    async def stream(self) -> LedgerStream:
        count = len(self._broker.recorded("ledger"))
        return LedgerStream("in this process", 1, count, max(0, count - self._written))

    async def close(self) -> None:
        """Do nothing: the broker belongs to the process."""
