"""What the semantic cache promises: beside the calibrations in their bucket, and a twin in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from fleet.logs import get_logger
from fleet.model.caching import CacheCalibration
from fleet.model.calibration import CalibrationKey
from fleet.model.delivery import Stored
from fleet.model.errors import ConfigError, QueueUnavailable
from fleet.model.target import SEMANTIC
from fleet.ports import CachePromises
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.queue import store
from queues.jetstream.stores.calibrations import POLL_SECONDS, PROMISES, read_again, store_key
from queues.jetstream.stores.journal import recorded
from queues.wire.cache_promise import decode_cache_promise, encode_cache_promise
from queues.wire.letters import Message
from queues.wire.subjects import CALIBRATIONS, calibration_subject

log = get_logger(__name__)


class JetStreamCachePromises:
    """Implements `fleet.ports.CachePromiseStore` on the bucket `calibrations`, which the topology makes."""

    def __init__(self, connection: Connection, poll_seconds: float = POLL_SECONDS) -> None:
        self._connection = connection
        self._poll_seconds = poll_seconds

    @classmethod
    async def connect(cls, url: str, login: Login = ANONYMOUS) -> JetStreamCachePromises:
        """Return a store on a connection of its own, closed with it.

        Raises: QueueUnavailable if no broker answers.
        """
        return cls(await connect(url, name="fleet-cache-promises", login=login))

    async def read_all(self) -> CachePromises:
        latest = recorded(self._connection, CALIBRATIONS, f"{PROMISES}>", latest_only=True)
        return _in_force([(message.subject, message.data) async for message in latest])

    async def put(self, promises: Sequence[CacheCalibration]) -> None:
        stored = await store(self._connection, [_message(each) for each in promises])
        if not all(each is Stored.NEW for each in stored):
            raise QueueUnavailable("a promise of the cache was not stored")

    async def watch(self, on_change: Callable[[CachePromises], None]) -> None:
        await read_again(self._connection, self.read_all, on_change, self._poll_seconds)

    async def close(self) -> None:
        await self._connection.close()


class MemoryCachePromises:
    """Implements `fleet.ports.CachePromiseStore` in this process, shared by its holders. It stores the same bytes."""

    def __init__(self) -> None:
        self._messages: dict[str, bytes] = {}
        self._changed = asyncio.Event()

    async def read_all(self) -> CachePromises:
        return _in_force(self._messages.items())

    async def put(self, promises: Sequence[CacheCalibration]) -> None:
        self._messages.update((message.subject, message.data) for message in map(_message, promises))
        self._changed.set()
        self._changed = asyncio.Event()

    async def watch(self, on_change: Callable[[CachePromises], None]) -> None:
        while True:
            changed = self._changed
            on_change(await self.read_all())
            await changed.wait()

    async def close(self) -> None:
        """Do nothing: the store belongs to the process."""


def _message(promise: CacheCalibration) -> Message:
    """Return the message for a promise. Raises: ConfigError if a reader would refuse it."""
    body = encode_cache_promise(promise)
    decode_cache_promise(body)
    return Message(_subject(promise), body)


def _subject(promise: CacheCalibration) -> str:
    return calibration_subject(store_key(CalibrationKey(SEMANTIC, promise.tenant, promise.task)))


def _in_force(latest: Iterable[tuple[str, bytes]]) -> CachePromises:
    found = [promise for subject, body in latest if (promise := _readable(subject, body)) is not None]
    return {(each.tenant, each.task): each for each in found}


def _readable(subject: str, body: bytes) -> CacheCalibration | None:
    if not body:
        return None  # a deleted key
    try:
        promise = decode_cache_promise(body)
        if subject != _subject(promise):
            raise ConfigError("task", f"must be that of its subject, {subject}")
    except ConfigError as error:
        log.warning("calibration_left_out", subject=subject, problem=str(error))
        return None
    return promise
