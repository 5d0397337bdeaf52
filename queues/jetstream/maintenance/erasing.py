"""Erases what the streams hold of a tenant or of single jobs: results, feedback, dead letters, lines of accounts.

Jobs that wait or run are left alone: each still gets its one result.
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence, Set
from functools import partial

from fleet.model.cache_entry import UNTOLD
from fleet.model.calibration import CalibrationKey
from fleet.model.erasure import Erasure
from fleet.model.feedback import Witness
from queues.jetstream import api
from queues.jetstream.api import StoredMessage
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.stores.calibrations import promises_subject, store_key
from queues.jetstream.stores.journal import recorded
from queues.wire.cache import dropped
from queues.wire.erasure import erasure_message
from queues.wire.record import fields_in
from queues.wire.subjects import (
    BATCHES,
    CACHE,
    CALIBRATIONS,
    CANCELS,
    CONTENT,
    DEAD,
    EVENTS,
    FEEDBACK,
    FILES,
    JOBS,
    LARGE_RESULTS,
    LEDGER,
    RESPONSES,
    RESULTS,
    START_SUBJECTS,
    STARTS,
    WEBHOOKS,
    WORK,
    batches_subject,
    cache_subject,
    calibration_subject,
    cancel_subject,
    content_subject,
    dead_subject,
    delivery_subject,
    endpoint_subject,
    event_subject,
    feedback_subject,
    file_chunk_subject,
    ledger_subject,
    object_chunk_subject,
    object_meta_subject,
    response_subject,
    result_subject,
)

Job = tuple[str, str]
"""A tenant and the id of one of its jobs."""

Body = tuple[str, str, Callable[[str], str]]
"""A stream, the field in which its messages name their job, and their subject by the tenant."""

_BODIES: Sequence[Body] = (
    (DEAD, "id", dead_subject),
    (CONTENT, "job_id", content_subject),
    *((FEEDBACK, "job_id", partial(feedback_subject, source=source)) for source in Witness),
)

_OBJECTS = object_meta_subject("") + "*"

AT_ONCE = 256
"""Requests that are sent without waiting for the answers before."""


class JetStreamErasing:
    """Erases on one connection, as a user with the right to purge. Every method raises QueueUnavailable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, url: str, login: Login = ANONYMOUS) -> JetStreamErasing:
        """Connect, on a connection of its own. Raises: QueueUnavailable; ConfigError if the login is refused."""
        return cls(await connect(url, name="fleet-erase", login=login))

    async def last_line(self) -> int:
        """Return the number of the last line of accounts in the stream."""
        return (await api.stream_info(self._connection, LEDGER)).last_sequence

    async def erase_tenant(self, tenant: str) -> int:
        """Erase everything but jobs, work and accounts; return how many messages that were."""
        subjects = [
            (RESULTS, result_subject(tenant, "*")),
            (LARGE_RESULTS, object_chunk_subject(f"{tenant}.*.*", "*")),
            *((FEEDBACK, subject) for subject in {feedback_subject(tenant, source) for source in Witness}),
            (DEAD, dead_subject(tenant)),
            (STARTS, f"{START_SUBJECTS}{tenant}.>"),
            (CANCELS, cancel_subject(tenant, "*")),
            (CONTENT, content_subject(tenant)),
            (RESPONSES, response_subject(tenant, "*")),
            (EVENTS, event_subject(tenant)),
            (EVENTS, delivery_subject(tenant, "*", "*")),
            (WEBHOOKS, endpoint_subject(tenant, "*")),
            (BATCHES, batches_subject(f"{tenant}.>")),
            (CACHE, cache_subject(tenant, "*")),
            (CALIBRATIONS, promises_subject(tenant)),
            (FILES, file_chunk_subject(tenant, "*", "*", "*")),
        ]
        objects = [name for name in await self._large_answers() if name.startswith(f"{tenant}.")]
        await self._forget_untold()  # else they may yet be told
        purged = await self._purge([*subjects, *map(_meta, objects)])
        await self._forget_untold()
        return purged

    async def _forget_untold(self) -> None:
        """Let dispatchers look which answers were purged, and drop those that they have told nobody of."""
        await api.publish(self._connection, dropped(*UNTOLD))

    async def erase_jobs(self, jobs: Set[Job]) -> int:
        """Erase everything of these jobs but jobs, work and accounts; return how many messages that were."""
        subjects = [
            subject
            for tenant, job in jobs
            for subject in (
                (RESULTS, result_subject(tenant, job)),
                (LARGE_RESULTS, object_chunk_subject(f"{tenant}.{job}.*", "*")),
                (STARTS, f"{START_SUBJECTS}{tenant}.{job}.>"),
                (CANCELS, cancel_subject(tenant, job)),
                (RESPONSES, response_subject(tenant, job)),
            )
        ]
        objects = [name for name in await self._large_answers() if tuple(name.split(".")[:2]) in jobs]
        return await self._purge([*subjects, *map(_meta, objects)]) + await self._delete_about(jobs, _BODIES)

    async def forget_before(self, keys: Iterable[CalibrationKey]) -> int:
        """Erase what these calibrations were before the one in force."""
        subjects = [(CALIBRATIONS, calibration_subject(store_key(key))) for key in keys]
        return await api.purge(self._connection, subjects, keep=1)

    async def erase_tenants_lines(self, tenant: str, last: int) -> int:
        """Erase the tenant's lines of accounts up to number `last`: those that have been written down."""
        return await self._purge([(LEDGER, ledger_subject(tenant))], last + 1)

    async def erase_lines(self, sequences: Iterable[int]) -> int:
        return await self._delete([(LEDGER, sequence) for sequence in sequences])

    async def erase_jobs_lines(self, jobs: Set[Job]) -> int:
        """Erase the lines of accounts of these jobs, wherever they are; this reads all lines of their tenants."""
        return await self._delete_about(jobs, [(LEDGER, "id", ledger_subject)])

    async def record(self, erasure: Erasure, at: float) -> int:
        """Store the record of an erasure among the lines of accounts, and return its number."""
        return await api.publish(self._connection, erasure_message(erasure, at))

    async def unfinished(self, tenant: str) -> int:
        """Return how many jobs of the tenant still wait or run: they are not erased."""
        jobs = await self._subjects(JOBS, f"jobs.*.{tenant}")
        work = await self._subjects(WORK, f"work.*.*.{tenant}")
        return sum(jobs.values()) + sum(work.values())

    def counting(self) -> JetStreamCounting:
        """Return what finds the same messages on the same connection, and only counts them."""
        return JetStreamCounting(self._connection)

    async def close(self) -> None:
        await self._connection.close()

    async def _subjects(self, stream: str, pattern: str) -> Mapping[str, int]:
        """Return the subjects that match, with their messages, in as many answers as it takes."""
        found: dict[str, int] = {}
        while True:
            info = await api.stream_info(self._connection, stream, pattern, len(found))
            found |= info.subjects
            if not info.subjects or len(found) >= info.total:
                return found

    async def _large_answers(self) -> list[str]:
        """Return the names of all large answers, `<tenant>.<job>.<random>`."""
        subjects = await self._subjects(LARGE_RESULTS, _OBJECTS)
        return [urlsafe_b64decode(subject.rpartition(".")[2]).decode(errors="replace") for subject in subjects]

    async def _delete_about(self, jobs: Set[Job], bodies: Iterable[Body]) -> int:
        """Delete the messages whose bodies say that they are about these jobs."""
        subjects = {  # once each: some sources of feedback share a subject
            (stream, name, tenant, subject_of(tenant))
            for tenant in {tenant for tenant, _ in jobs}
            for stream, name, subject_of in bodies
        }
        return await self._delete(
            [
                (stream, message.sequence)
                for stream, name, tenant, subject in subjects
                async for message in self._stored(stream, subject)
                if (tenant, fields_in(message.data).get(name)) in jobs
            ]
        )

    def _stored(self, stream: str, subject: str) -> AsyncIterator[StoredMessage]:
        """Yield the messages on a subject; a stream with a consumer for all of it lets nobody else have one."""
        one_by_one = stream == CONTENT
        return self._one_by_one(stream, subject) if one_by_one else recorded(self._connection, stream, subject)

    async def _one_by_one(self, stream: str, subject: str) -> AsyncIterator[StoredMessage]:
        place = 1
        while (found := await api.next_by_subject(self._connection, stream, subject, place)) is not None:
            yield found
            place = found.sequence + 1

    async def _purge(self, subjects: Sequence[tuple[str, str]], before: int | None = None) -> int:
        """Purge these subjects of their streams, of messages before number `before`."""
        return await api.purge(self._connection, subjects, before)

    async def _delete(self, places: Sequence[tuple[str, int]]) -> int:
        """Delete messages and overwrite their bytes; return how many were there."""
        return sum([await api.delete(self._connection, *place) for place in places])


class JetStreamCounting(JetStreamErasing):
    """Counts what `JetStreamErasing` would erase."""

    async def _purge(self, subjects: Sequence[tuple[str, str]], before: int | None = None) -> int:
        counted = 0
        for start in range(0, len(subjects), AT_ONCE):
            asked = [self._subjects(stream, subject) for stream, subject in subjects[start : start + AT_ONCE]]
            counted += sum([sum(found.values()) for found in await asyncio.gather(*asked)])
        return counted

    async def _forget_untold(self) -> None:
        """Do nothing."""

    async def _delete(self, places: Sequence[tuple[str, int]]) -> int:
        counted = 0
        for start in range(0, len(places), AT_ONCE):
            found = await api.get(self._connection, places[start : start + AT_ONCE])
            counted += sum(message is not None for message in found)
        return counted


def _meta(name: str) -> tuple[str, str]:
    return LARGE_RESULTS, object_meta_subject(name)
