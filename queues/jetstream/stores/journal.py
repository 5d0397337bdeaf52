"""Reads back what was recorded: the ledger and the feedback, from the first message still kept."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from fleet.logs import get_logger
from fleet.model.feedback import Feedback
from fleet.model.result import LedgerEntry, Problem
from queues.jetstream.api import StoredMessage
from queues.jetstream.causes import unanswered
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.consuming.inlet import Inlet, hand_over_of
from queues.memory import MemoryBroker
from queues.wire.erasure import is_erasure
from queues.wire.feedback import decode_feedback
from queues.wire.ledger import decode_ledger
from queues.wire.subjects import FEEDBACK, LEDGER, ledger_subject

PORTION = 1000
"""Messages asked for at once."""

FORGOTTEN_AFTER_SECONDS = 60.0
"""Seconds until the server forgets a reader that went away in the middle."""

Value = TypeVar("Value")

log = get_logger(__name__)


async def recorded(
    connection: Connection, stream: str, subject: str | None = None, *, latest_only: bool = False
) -> AsyncIterator[StoredMessage]:
    """Yield the messages now in the stream, oldest first: those on `subject`, or with `latest_only` one per subject.

    Raises: QueueUnavailable, also if there is no such stream.
    """
    js = connection.nats.jetstream()
    config = ConsumerConfig(
        # Only with a name does the server check the filter against the caller's permissions.
        name=f"reader-{secrets.token_hex(8)}",
        ack_policy=AckPolicy.NONE,
        deliver_policy=DeliverPolicy.LAST_PER_SUBJECT if latest_only else DeliverPolicy.ALL,
        # The server wants a filter if it is to deliver the last per subject.
        filter_subject=subject,
        inactive_threshold=FORGOTTEN_AFTER_SECONDS,
        mem_storage=True,
    )
    try:
        reader = await js.add_consumer(stream, config)
    except NatsError as error:
        raise unanswered(f"{stream} cannot be read", error) from error
    inlet = Inlet(connection, stream, reader.name)
    try:
        async for message in _portions(inlet, reader.num_pending or 0, connection.timeout_seconds):
            about = hand_over_of(message.reply)
            yield StoredMessage(message.subject, message.data, about.stored_at, about.sequence)
    finally:
        with suppress(NatsError):
            await js.delete_consumer(stream, reader.name)
        await inlet.close()


async def _portions(inlet: Inlet, expected: int, timeout_seconds: float) -> AsyncIterator[Any]:
    """Yield up to `expected` messages; fewer if some have grown too old meanwhile. Later ones are not waited for."""
    while expected > 0:
        messages = await inlet.pull(min(expected, PORTION), 0, timeout_seconds)
        if not messages:
            return
        expected -= len(messages)
        for message in messages:
            yield message


class _Reader:
    """Turns messages into values, and counts those that are none: a stranger may have written them."""

    def __init__(self) -> None:
        self._skipped: Counter[str] = Counter()

    def unreadable(self) -> int:
        return self._skipped.total()

    def read(
        self, message: StoredMessage, decode: Callable[[StoredMessage], Value | Problem | None]
    ) -> Iterable[Value]:
        value = decode(message)
        if value is None:
            return ()
        if not isinstance(value, Problem):
            return (value,)
        self._skipped[message.subject] += 1
        log.warning(
            "journal_message_skipped", subject=message.subject, skipped=self.unreadable(), problem=value.message
        )
        return ()


def _ledger_entry(message: StoredMessage) -> LedgerEntry | Problem | None:
    """Return the entry; None for the record of an erasure, which no job left."""
    if is_erasure(message.data):
        return None
    try:
        return decode_ledger(message.data)
    except (ValueError, AttributeError) as error:
        return Problem(str(error))


def _entries(reader: _Reader, message: StoredMessage, job_id: str | None) -> Iterable[LedgerEntry]:
    if job_id is not None and job_id.encode() not in message.data:  # reading costs twenty times as much as looking
        return ()
    return [entry for entry in reader.read(message, _ledger_entry) if job_id in (None, entry.job_id)]


def _feedback(message: StoredMessage) -> Feedback | Problem:
    return decode_feedback(message.data, message.subject, message.stored_at)


class JetStreamJournal:
    """Implements `fleet.ports.Journal` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._reader = _Reader()

    @classmethod
    async def connect(cls, url: str, login: Login = ANONYMOUS) -> JetStreamJournal:
        """Return a journal on a connection of its own, closed with it.

        Raises: QueueUnavailable if no broker answers.
        """
        return cls(await connect(url, name="fleet-journal", login=login))

    async def ledger(self, tenant: str | None = None, job_id: str | None = None) -> AsyncIterator[LedgerEntry]:
        subject = None if tenant is None else ledger_subject(tenant)
        async for message in recorded(self._connection, LEDGER, subject):
            for entry in _entries(self._reader, message, job_id):
                yield entry

    async def feedback(self) -> AsyncIterator[Feedback]:
        async for message in recorded(self._connection, FEEDBACK):
            for feedback in self._reader.read(message, _feedback):
                yield feedback

    def unreadable(self) -> int:
        return self._reader.unreadable()

    async def close(self) -> None:
        await self._connection.close()


class MemoryJournal:
    """Implements `fleet.ports.Journal` on a MemoryBroker."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._reader = _Reader()

    async def ledger(self, tenant: str | None = None, job_id: str | None = None) -> AsyncIterator[LedgerEntry]:
        for message in self._recorded(LEDGER):
            if tenant is None or message.subject == ledger_subject(tenant):
                for entry in _entries(self._reader, message, job_id):
                    yield entry

    async def feedback(self) -> AsyncIterator[Feedback]:
        for message in self._recorded(FEEDBACK):
            for feedback in self._reader.read(message, _feedback):
                yield feedback

    def _recorded(self, stream: str) -> Iterable[StoredMessage]:
        return (
            StoredMessage(record.message.subject, record.message.data, record.stored_at)
            for record in self._broker.recorded(stream.lower())
        )

    def unreadable(self) -> int:
        return self._reader.unreadable()

    async def close(self) -> None:
        """Do nothing: the broker belongs to the process."""
