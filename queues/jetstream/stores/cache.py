"""The cache of answers: a NATS key-value bucket whose entries go by themselves, and its twin in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence

from nats.js.api import DeliverPolicy

from fleet.logs import get_logger
from fleet.model.cache_entry import UNTOLD, CacheEntry, CacheKey
from fleet.model.caching import DisownedHit
from fleet.model.delivery import Stored
from fleet.model.errors import QueueUnavailable
from fleet.model.feedback import Feedback, Verdict, Witness
from fleet.model.result import Result
from fleet.model.target import SEMANTIC
from fleet.ports import Disowned
from queues.jetstream import api
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.client.frames import Arrival
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.consuming.following import POLL_SECONDS, follow
from queues.jetstream.queue import store
from queues.jetstream.stores.journal import recorded
from queues.wire.cache import dropped, entry_in, kept
from queues.wire.feedback import decode_feedback
from queues.wire.result import result_in
from queues.wire.subjects import CACHE, FEEDBACK, RESULTS, cache_subject, feedback_subject, result_subject

PAUSE_SECONDS = 0.5
"""Seconds between tries while the broker is away."""

_PURGED = cache_subject(*UNTOLD)
"""The subject on which those who purge say so."""

log = get_logger(__name__)


class JetStreamCache:
    """Implements `fleet.ports.CacheStore` on the bucket `cache`, which the topology makes."""

    def __init__(self, connection: Connection, poll_seconds: float = POLL_SECONDS) -> None:
        self._connection = connection
        self._poll_seconds = poll_seconds

    @classmethod
    async def connect(cls, url: str, login: Login = ANONYMOUS) -> JetStreamCache:
        """Return a store on a connection of its own, closed with it.

        Raises: QueueUnavailable if no broker answers.
        """
        return cls(await connect(url, name="fleet-cache", login=login))

    async def put(self, entries: Sequence[CacheEntry]) -> None:
        stored = await store(self._connection, [kept(each) for each in entries])
        if (refused := stored.count(Stored.REFUSED)) > 0:
            log.debug("cache_entries_refused", entries=refused)

    async def drop(self, keys: Sequence[CacheKey]) -> None:
        await store(self._connection, [dropped(*key) for key in keys])

    async def read_all(self, tenant: str | None = None) -> Sequence[CacheEntry]:
        latest = recorded(self._connection, CACHE, cache_subject(tenant or "*", "*"), latest_only=True)
        found = [entry_in(message.subject, message.data) async for message in latest]
        return [each for each in found if isinstance(each, CacheEntry)]

    async def follow(self) -> AsyncIterator[Sequence[CacheEntry | CacheKey]]:
        known: set[str] = set()
        where = (CACHE, cache_subject("*", "*"), DeliverPolicy.LAST_PER_SUBJECT, self._poll_seconds)
        while True:
            try:
                async for messages, missing in follow(self._connection, *where):
                    subjects = {message.subject for message in messages}
                    known |= subjects
                    if messages:
                        yield _read(messages)
                    is_quiet = not messages and not missing
                    if (is_quiet or _PURGED in subjects) and (gone := await self._gone(known)):
                        known -= gone
                        yield [entry_in(subject, b"") for subject in gone - {_PURGED}]
            except QueueUnavailable as error:
                log.debug("cache_not_read", error=str(error))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _gone(self, known: set[str]) -> set[str]:
        """Return the subjects that the bucket holds no more: what is purged, as in an erasure, goes without a word."""
        info = await api.stream_info(self._connection, CACHE)
        if info.messages >= len(known):
            return set()
        there: set[str] = set()
        while True:
            info = await api.stream_info(self._connection, CACHE, ">", len(there))
            there |= info.subjects.keys()
            if not info.subjects or len(there) >= info.total:
                return known - there

    async def disowned(self) -> AsyncIterator[Disowned]:
        subject = feedback_subject("*", Witness.USER)
        while True:
            try:
                async for messages, _ in follow(self._connection, FEEDBACK, subject):
                    for each in await self._disowned(messages):
                        yield each
            except QueueUnavailable as error:
                log.debug("feedback_not_read", error=str(error))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _disowned(self, messages: Sequence[Arrival]) -> list[Disowned]:
        bad = [found for each in messages if (found := _bad(each.subject, each.data)) is not None]
        subjects = (result_subject(each.tenant, each.job_id) for each in bad)
        results = await api.direct_get(self._connection, RESULTS, subjects) if bad else ()
        return [_jobs_of(each, body) for each, body in zip(bad, results, strict=True)]

    async def close(self) -> None:
        await self._connection.close()


def _read(messages: Sequence[Arrival]) -> list[CacheEntry | CacheKey]:
    found = [entry_in(message.subject, message.data) for message in messages]
    said = zip(found, messages, strict=True)
    if unread := [message.subject for each, message in said if message.data and not isinstance(each, CacheEntry)]:
        log.warning("cache_entries_unreadable", entries=len(unread), subject=unread[0])
    return found


def _bad(subject: str, body: bytes) -> Feedback | None:
    """Return the feedback if a user calls an answer bad."""
    if Verdict.BAD.encode() not in body:  # reading costs twenty times as much as looking
        return None
    found = decode_feedback(body, subject, 0.0)
    return found if isinstance(found, Feedback) and found.verdict is Verdict.BAD else None


def _jobs_of(bad: Feedback, body: bytes | None) -> Disowned:
    result = None if body is None else result_in(body)
    attempts = () if result is None else result.attempts
    jobs = {bad.job_id, *(attempt.cached.job_id for attempt in attempts if attempt.cached is not None)}
    return bad.tenant, jobs, None if result is None or result.target != SEMANTIC else _hit(result)


def _hit(result: Result) -> DisownedHit:
    return DisownedHit(result.job_id, result.task or "", result.attempts[-1].ended_at if result.attempts else 0.0)


class MemoryCache:
    """Implements `fleet.ports.CacheStore` in this process, shared by its holders. It stores the same bytes."""

    def __init__(self) -> None:
        self._messages: dict[str, bytes] = {}
        self._log: list[tuple[str, bytes]] = []
        self._changed = asyncio.Event()
        self._disowned: asyncio.Queue[Disowned] = asyncio.Queue()

    async def put(self, entries: Sequence[CacheEntry]) -> None:
        self._tell([(message.subject, message.data) for message in map(kept, entries)])

    async def drop(self, keys: Sequence[CacheKey]) -> None:
        self._tell([(message.subject, message.data) for message in (dropped(*key) for key in keys)])

    def _tell(self, changes: Sequence[tuple[str, bytes]]) -> None:
        self._messages.update(changes)
        self._log += changes
        self._changed.set()
        self._changed = asyncio.Event()

    async def read_all(self, tenant: str | None = None) -> Sequence[CacheEntry]:
        found = (entry_in(*each) for each in self._messages.items())
        return [each for each in found if isinstance(each, CacheEntry) and tenant in (None, each.tenant)]

    async def follow(self) -> AsyncIterator[Sequence[CacheEntry | CacheKey]]:
        read = 0
        while True:
            changed, news = self._changed, self._log[read:]
            read += len(news)
            if news:
                yield [entry_in(*each) for each in news]
            else:
                await changed.wait()

    def disown(self, tenant: str, job_ids: Collection[str], hit: DisownedHit | None = None) -> None:
        """Let all who listen know that users call the answers of these jobs bad."""
        self._disowned.put_nowait((tenant, job_ids, hit))

    async def disowned(self) -> AsyncIterator[Disowned]:
        while True:
            yield await self._disowned.get()

    async def close(self) -> None:
        """Do nothing: the cache belongs to the process."""
