"""A key-value bucket of records by name that all who follow hear of at once, and its twin in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from nats.js.api import DeliverPolicy

from fleet.logs import get_logger
from fleet.model.delivery import Stored
from fleet.model.errors import ConfigError, QueueRefused, QueueUnavailable
from queues.jetstream import api
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.consuming.following import POLL_SECONDS, follow
from queues.jetstream.queue import store
from queues.jetstream.stores.journal import recorded
from queues.wire.letters import Message
from queues.wire.subjects import EXPECTED_LAST_SEQUENCE

PAUSE_SECONDS = 0.5
"""Seconds between tries while the broker is away."""

LOST_SECONDS = 15.0
"""Seconds without a word of the bucket after which nobody knows any more what is in force: nobody would hear a stop."""

TRIES = 5
"""Tries of a change while others change records of the bucket too."""

DELETED = {"KV-Operation": "DEL"}
"""The headers of a key's deletion, whose value is empty."""

log = get_logger(__name__)


class Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What a bucket holds: records of one type, each on the subject of its name.

    `decode` raises ValueError or ConfigError; `left_out` is told subject and problem of what it cannot read.
    """

    what: str
    stream: str
    subject: Callable[[str], str]
    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]
    left_out: Callable[[str, str], None]

    def readable(self, messages: Iterable[tuple[str, bytes]]) -> Mapping[str, T]:
        """Return the records by name; those that cannot be read are left out."""
        found = (self._record(subject, data) for subject, data in messages if data)
        return {each.name: each for each in found if each is not None}

    def _record(self, subject: str, data: bytes) -> T | None:
        try:
            record = self.decode(data)
        except (ValueError, ConfigError) as error:
            self.left_out(subject, str(error))
            return None
        if subject != self.subject(record.name):
            self.left_out(subject, f"is of {record.name}")
            return None
        return record


class JetStreamBucket(Generic[T]):
    """A bucket which the topology makes. Every method raises QueueUnavailable if the broker does not answer."""

    kind: Kind[T]

    def __init__(self, connection: Connection, poll_seconds: float = POLL_SECONDS) -> None:
        self._connection = connection
        self._poll_seconds = poll_seconds

    @classmethod
    async def connect(cls, url: str, login: Login = ANONYMOUS) -> Self:
        """Return a store on a connection of its own, closed with it. Raises: QueueUnavailable if no broker answers."""
        return cls(await connect(url, name=f"fleet-{cls.kind.what}s", login=login))

    async def read_all(self) -> Mapping[str, T]:
        """Return every record by its name."""
        return self.kind.readable(await self._stored())

    async def _stored(self) -> Sequence[tuple[str, bytes]]:
        latest = recorded(self._connection, self.kind.stream, self.kind.subject(">"), latest_only=True)
        return [(message.subject, message.data) async for message in latest]

    async def change(self, change: Callable[[Mapping[str, T]], T]) -> T:
        """Store and return what `change` makes of those there are; it is called again if another change came first."""
        for _ in range(TRIES):
            # Taken before the records are read: whatever is stored after that refuses the change.
            fence = await self._fence()
            changed = change(await self.read_all())
            if await self._is_stored(Message(self.kind.subject(changed.name), self.kind.encode(changed), fence)):
                return changed
        raise self._others()

    async def remove(self, name: str, check: Callable[[Mapping[str, T]], None]) -> None:
        """Remove a record after `check` has seen all there are, again if another change came first."""
        for _ in range(TRIES):
            fence = await self._fence()
            check(await self.read_all())
            if await self._is_stored(Message(self.kind.subject(name), b"", DELETED | fence)):
                return
        raise self._others()

    async def _fence(self) -> dict[str, str]:
        return {EXPECTED_LAST_SEQUENCE: str((await api.stream_info(self._connection, self.kind.stream)).last_sequence)}

    async def _is_stored(self, message: Message) -> bool:
        [stored] = await store(self._connection, [message])
        if stored is Stored.REFUSED:
            raise QueueRefused(f"the {self.kind.what} is larger than a message may be: {message.size_bytes:,} bytes")
        return stored is Stored.NEW

    def _others(self) -> QueueUnavailable:
        return QueueUnavailable(f"the {self.kind.what} was not stored: others are being changed, so try again")

    async def watch(self, on_change: Callable[[Mapping[str, T] | None], None]) -> None:
        """Pass all records to `on_change`, now and at once after each change, until cancelled, outages or not.

        None: nobody knows any more what is in force.
        """
        loop = asyncio.get_running_loop()
        heard_at: float | None = None
        where = (self.kind.stream, self.kind.subject(">"), DeliverPolicy.LAST_PER_SUBJECT, self._poll_seconds)
        while True:
            known: dict[str, bytes] = {}
            told = False
            try:
                async for messages, missing in follow(self._connection, *where):
                    heard_at = loop.time()
                    known.update((message.subject, message.data) for message in messages)
                    if missing <= 0 and (messages or not told):
                        told = True
                        on_change(self.kind.readable(known.items()))
                    elif not messages and await self._holds_less(known):
                        break
            except QueueUnavailable as error:
                log.debug("bucket_not_read", bucket=self.kind.stream, error=str(error))
            if heard_at is not None and loop.time() - heard_at > LOST_SECONDS:
                heard_at = None
                on_change(None)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _holds_less(self, known: Mapping[str, bytes]) -> bool:
        """Return whether the bucket has lost what it told: what is purged by hand goes without a word."""
        try:
            return (await api.stream_info(self._connection, self.kind.stream)).messages < len(known)
        except QueueUnavailable:  # an older configuration lets this user look at nothing
            return False

    async def close(self) -> None:
        await self._connection.close()


class MemoryBucket(Generic[T]):
    """A bucket in this process, shared by its holders. It stores the same bytes."""

    kind: Kind[T]

    def __init__(self) -> None:
        self._messages: dict[str, bytes] = {}
        self._changed = asyncio.Event()
        self.away = False
        """Set where the bucket cannot be read, for a test."""

    async def read_all(self) -> Mapping[str, T]:
        return self.kind.readable(await self._stored())

    async def _stored(self) -> Sequence[tuple[str, bytes]]:
        return list(self._messages.items())

    async def change(self, change: Callable[[Mapping[str, T]], T]) -> T:
        changed = change(await self.read_all())
        self._messages[self.kind.subject(changed.name)] = self.kind.encode(changed)
        self._tell()
        return changed

    async def remove(self, name: str, check: Callable[[Mapping[str, T]], None]) -> None:
        check(await self.read_all())
        self._messages.pop(self.kind.subject(name), None)
        self._tell()

    def lose(self) -> None:
        """Let all who watch know that nothing can be read any more."""
        self.away = True
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def watch(self, on_change: Callable[[Mapping[str, T] | None], None]) -> None:
        while True:
            changed = self._changed
            on_change(None if self.away else await self.read_all())
            await changed.wait()

    async def close(self) -> None:
        """Do nothing: the bucket belongs to the process."""
