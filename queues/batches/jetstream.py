"""The shelf on NATS: the bucket `batches` and the stream FILES."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from fleet.model.delivery import Stored
from fleet.model.errors import QueueRefused
from fleet.model.job import Lane
from queues.jetstream import api
from queues.jetstream.client.connection import Connection
from queues.jetstream.queue import store
from queues.jetstream.stores.cells import NOTHING, Cell
from queues.wire.letters import Message
from queues.wire.record import fields_in
from queues.wire.subjects import (
    BATCHES,
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    FILES,
    JOBS,
    RESULTS,
    WORK,
    batches_subject,
    job_subject,
    result_subject,
    work_subject,
)

RESULTS_AT_ONCE = 500


class JetStreamShelf:
    """A shelf on a connection that somebody else closes.

    A direct get, all that a tenant's own login may send, can be answered by a server that lags. So where the login may,
    `by_leader`, entries are asked of the leader of their stream.
    """

    def __init__(self, connection: Connection, by_leader: bool = False) -> None:
        self._connection = connection
        self._by_leader = by_leader

    async def entries(self, keys: Sequence[str]) -> list[Cell]:
        ask = api.last_by_subject if self._by_leader else api.direct_last
        found = await ask(self._connection, BATCHES, [batches_subject(key) for key in keys])
        # One that any NATS client has deleted is a marker without a value.
        return [NOTHING if each is None else Cell(each.data, each.sequence) for each in found]

    async def write(self, key: str, value: bytes, revision: int) -> int | None:
        headers = {EXPECTED_LAST_SUBJECT_SEQUENCE: str(revision)}
        try:
            return await api.publish(self._connection, Message(batches_subject(key), value, headers))
        except api.Conflict:
            return None

    async def store(self, chunks: Sequence[Message]) -> None:
        if Stored.REFUSED in await store(self._connection, chunks):
            raise QueueRefused(f"{FILES}: the broker takes no message as large as a part of a file")

    async def chunks(self, subjects: Sequence[str]) -> list[bytes | None]:
        return await api.direct_get(self._connection, FILES, subjects)

    async def keys(self, ending: str) -> Sequence[str]:
        found: list[str] = []
        while True:
            info = await api.stream_info(self._connection, BATCHES, batches_subject(f"*.{ending}"), len(found))
            found += info.subjects
            if not info.subjects or len(found) >= info.total:
                return sorted(subject.removeprefix(batches_subject("")) for subject in found)

    @asynccontextmanager
    async def watching(self, key: str) -> AsyncIterator[asyncio.Event]:
        event = asyncio.Event()
        subscription = await self._connection.subscribe(batches_subject(key), lambda _: event.set())
        try:
            yield event
        finally:
            await self._connection.unsubscribe(subscription)

    async def known(self, tenant: str, job_ids: Collection[str]) -> Collection[str]:
        # In this order: a job goes from the one to the next, and is stored there before it leaves here.
        queued: set[object] = {each async for each in self._queued(JOBS, job_subject(Lane.BULK, tenant))}
        queued |= {each async for each in self._queued(WORK, work_subject("*", Lane.BULK, tenant))}
        missing = [each for each in job_ids if each not in queued]
        for start in range(0, len(missing), RESULTS_AT_ONCE):
            some = missing[start : start + RESULTS_AT_ONCE]
            found = await api.last_by_subject(
                self._connection, RESULTS, [result_subject(tenant, each) for each in some]
            )
            queued |= {each for each, result in zip(some, found, strict=True) if result is not None}
        return [each for each in job_ids if each in queued]

    async def _queued(self, stream: str, subjects: str) -> AsyncIterator[object]:
        """Yield the id of each job that waits or is in hand there."""
        # One by one: a consumer would take jobs from a work queue. Only a runner that takes over asks.
        at = 1
        while (message := await api.next_by_subject(self._connection, stream, subjects, at)) is not None:
            yield fields_in(message.data).get("id")
            at = message.sequence + 1
