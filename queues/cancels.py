"""The jobs that are called off: a stream of wishes, and its twin in this process."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from pydantic_core import from_json

from fleet.model.cancellation import Cancellation
from fleet.model.errors import QueueUnavailable
from fleet.model.job import JOB_ID, TENANT
from fleet.model.result import Status
from queues.connection import DEFAULT_TIMEOUT_SECONDS, Connection, status_of
from queues.frames import Arrival
from queues.inlet import Inlet
from queues.letters import Message
from queues.memory import MemoryBroker
from queues.records import result_in
from queues.subjects import CANCELS, RESULTS, cancel_subject, result_subject

PORTION = 1000
"""Wishes read at once."""

POLL_SECONDS = 5.0
"""How long one look waits for a wish; a new one is handed on at once."""

FORGOTTEN_AFTER_SECONDS = 60.0
"""When the server forgets a reader that went away."""

PAUSE_SECONDS = 0.5
"""Between tries while the broker is away."""

_log = logging.getLogger(__name__)


def cancellation_in(subject: str, body: bytes) -> Cancellation | None:
    """The wish on this subject; None where its body is neither empty nor an empty object.

    A publisher can make the broker's own replies land on subjects of the same account, and those have a body.
    """
    _, tenant, job_id = subject.split(".", 2)
    if TENANT.fullmatch(tenant) is None or JOB_ID.fullmatch(job_id) is None:
        return None
    return Cancellation(tenant, job_id) if _is_empty(body) else None


def _is_empty(body: bytes) -> bool:
    try:
        return not body or from_json(body) == {}
    except ValueError:
        return False


class JetStreamCancels:
    """`fleet.ports.Cancels` on the stream CANCELS, which `queues.topology` makes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def follow(self) -> AsyncIterator[Sequence[Cancellation]]:
        while True:
            try:
                async for messages in self._read_on():
                    yield _wishes((message.subject, message.data) for message in messages)
            except QueueUnavailable as error:
                _log.debug("cancels not read: %s", error)
            # From the first one again: none is missed, whatever became of the connection or the stream.
            await asyncio.sleep(PAUSE_SECONDS)

    async def _read_on(self) -> AsyncIterator[list[Arrival]]:
        """All that is stored, then what comes. Raises QueueUnavailable when the reader is gone."""
        js = self._connection.nats.jetstream()
        config = ConsumerConfig(
            # Only with a name does the server check the filter against the caller's permissions.
            name=f"cancels-{secrets.token_hex(8)}",
            ack_policy=AckPolicy.NONE,
            deliver_policy=DeliverPolicy.ALL,
            filter_subject=cancel_subject("*", "*"),
            inactive_threshold=FORGOTTEN_AFTER_SECONDS,
            mem_storage=True,
        )
        try:
            reader: Any = await js.add_consumer(CANCELS, config)
        except NatsError as error:
            raise QueueUnavailable(f"{CANCELS} cannot be read: {error}") from error
        inlet = Inlet(self._connection, CANCELS, reader.name)
        try:
            while True:
                messages = await inlet.pull(PORTION, POLL_SECONDS, DEFAULT_TIMEOUT_SECONDS)
                if messages:
                    yield messages
        finally:
            await inlet.close()

    async def outcomes(self, cancellations: Sequence[Cancellation]) -> Sequence[Status | None]:
        subjects = (result_subject(each.tenant, each.job_id) for each in cancellations)
        asked = [Message(f"$JS.API.DIRECT.GET.{RESULTS}.{subject}", b"") for subject in subjects]
        return [_outcome(reply) for reply in await self._connection.exchange(asked)]


def _outcome(reply: Arrival) -> Status | None:
    match status_of(reply):
        case None:
            result = result_in(reply.data)
            return None if result is None else result.status
        case "404":
            return None
        case status:
            raise QueueUnavailable(f"no result can be read: status {status}")


class MemoryCancels:
    """`fleet.ports.Cancels` on a MemoryBroker."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def follow(self) -> AsyncIterator[Sequence[Cancellation]]:
        read = 0
        while True:
            messages = self._broker.stored("cancels")[read:]
            read += len(messages)
            if messages:
                yield _wishes((message.subject, message.data) for message in messages)
            else:
                await self._broker.next_change()

    async def outcomes(self, cancellations: Sequence[Cancellation]) -> Sequence[Status | None]:
        return [self._outcome(each) for each in cancellations]

    def _outcome(self, cancellation: Cancellation) -> Status | None:
        message = self._broker.last(result_subject(cancellation.tenant, cancellation.job_id))
        result = None if message is None else result_in(message.data)
        return None if result is None else result.status


def _wishes(messages: Iterable[tuple[str, bytes]]) -> list[Cancellation]:
    found = (cancellation_in(subject, body) for subject, body in messages)
    return [cancellation for cancellation in found if cancellation is not None]
