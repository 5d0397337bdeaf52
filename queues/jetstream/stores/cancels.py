"""The cancelled jobs: a stream of cancellations, and its twin in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from pydantic_core import from_json

from fleet.logs import get_logger
from fleet.model.cancellation import Cancellation
from fleet.model.errors import QueueUnavailable
from fleet.model.job import JOB_ID, TENANT
from fleet.model.result import Status
from queues.jetstream import api
from queues.jetstream.client.connection import Connection
from queues.jetstream.client.frames import Arrival
from queues.jetstream.consuming.following import follow
from queues.jetstream.consuming.inlet import hand_over_of
from queues.memory import MemoryBroker
from queues.wire.result import result_in
from queues.wire.subjects import CANCELS, RESULTS, cancel_subject, result_subject

NEVER_FULL = 100
"""Cancellations that fit into the smallest possible stream: if no more are stored, none was dropped for room."""

PAUSE_SECONDS = 0.5
"""Seconds between tries while the broker is away."""

log = get_logger(__name__)

ToldAll = Callable[[float | None], None]


def _nobody_asks(known_since: float | None) -> None:
    """Ignore the report, for readers that need not know whether they have been told all that is stored."""


def cancellation_in(subject: str, body: bytes) -> Cancellation | None:
    """Return the cancellation on this subject, or None if its body is neither empty nor an empty object.

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
    """Implements `fleet.ports.Cancels` on the stream CANCELS, made by `queues.jetstream.streams.topology`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def follow(self, told_all: ToldAll = _nobody_asks) -> AsyncIterator[Sequence[Cancellation]]:
        while True:
            try:
                async for messages in self._read_on(told_all):
                    yield _wishes((message.subject, message.data) for message in messages)
            except QueueUnavailable as error:
                log.debug("cancels_not_read", error=str(error))
            told_all(None)
            # From the first one again: none is missed, whatever became of the connection or the stream.
            await asyncio.sleep(PAUSE_SECONDS)

    async def _read_on(self, told_all: ToldAll) -> AsyncIterator[list[Arrival]]:
        """Yield all that is stored, then what comes.

        Raises: QueueUnavailable if the reader is gone.
        """
        known_since: float | None = None
        is_first = True
        async for messages, missing in follow(self._connection, CANCELS, cancel_subject("*", "*")):
            if is_first and missing <= NEVER_FULL:
                known_since = 0.0
            elif known_since is None and not is_first:
                known_since = hand_over_of(messages[0].reply).stored_at if messages else time.time()
            is_first = False
            if messages:
                yield messages
            if missing <= 0:
                told_all(known_since)

    async def outcomes(self, cancellations: Sequence[Cancellation]) -> Sequence[Status | None]:
        subjects = (result_subject(each.tenant, each.job_id) for each in cancellations)
        return [_outcome(body) for body in await api.direct_get(self._connection, RESULTS, subjects)]

    async def stored(self, cancellations: Sequence[Cancellation]) -> Sequence[bool]:
        subjects = [cancel_subject(each.tenant, each.job_id) for each in cancellations]
        found = await api.last_by_subject(self._connection, CANCELS, subjects)
        return [message is not None and _is_empty(message.data) for message in found]


def _outcome(body: bytes | None) -> Status | None:
    result = None if body is None else result_in(body)
    return None if result is None else result.status


class MemoryCancels:
    """Implements `fleet.ports.Cancels` on a MemoryBroker."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def follow(self, told_all: ToldAll = _nobody_asks) -> AsyncIterator[Sequence[Cancellation]]:
        read = 0
        while True:
            messages = self._broker.stored("cancels")[read:]
            read += len(messages)
            if messages:
                yield _wishes((message.subject, message.data) for message in messages)
            else:
                told_all(0.0)
                await self._broker.next_change()

    async def outcomes(self, cancellations: Sequence[Cancellation]) -> Sequence[Status | None]:
        return [self._outcome(each) for each in cancellations]

    async def stored(self, cancellations: Sequence[Cancellation]) -> Sequence[bool]:
        found = (self._broker.last(cancel_subject(each.tenant, each.job_id)) for each in cancellations)
        return [message is not None and _is_empty(message.data) for message in found]

    def _outcome(self, cancellation: Cancellation) -> Status | None:
        message = self._broker.last(result_subject(cancellation.tenant, cancellation.job_id))
        return _outcome(None if message is None else message.data)


def _wishes(messages: Iterable[tuple[str, bytes]]) -> list[Cancellation]:
    found = (cancellation_in(subject, body) for subject, body in messages)
    return [cancellation for cancellation in found if cancellation is not None]
