"""The API keys: a NATS key-value bucket that holds their hashes, and its twin in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from fleet.logs import get_logger
from fleet.model.api_key import ApiKey
from fleet.model.errors import QueueUnavailable
from queues.jetstream import api
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.stores.journal import recorded
from queues.wire.letters import Message
from queues.wire.record import broken_rule
from queues.wire.subjects import EXPECTED_LAST_SUBJECT_SEQUENCE, KEYS, key_subject

Keys = Mapping[str, ApiKey]

POLL_SECONDS = 1.0
"""Seconds until a gateway notices a new or a revoked key. Each poll is one small request; a change is then read."""

log = get_logger(__name__)

_RECORD = TypeAdapter(ApiKey)


class JetStreamKeys:
    """Implements `fleet.ports.KeyStore` on the bucket `keys`, which the topology makes."""

    def __init__(self, connection: Connection, poll_seconds: float = POLL_SECONDS) -> None:
        self._connection = connection
        self._poll_seconds = poll_seconds

    @classmethod
    async def connect(cls, url: str, login: Login = ANONYMOUS) -> JetStreamKeys:
        """Return a store on a connection of its own, closed with it.

        Raises: QueueUnavailable if no broker answers.
        """
        return cls(await connect(url, name="fleet-keys", login=login))

    async def read_all(self) -> Keys:
        latest = recorded(self._connection, KEYS, key_subject(">"), latest_only=True)
        return _readable([(message.subject, message.data) async for message in latest])

    async def add(self, key: ApiKey) -> None:
        await self._write(key, 0)

    async def revoke(self, key_id: str, at: float) -> ApiKey | None:
        while True:
            subject = key_subject(key_id)
            [message] = await api.last_by_subject(self._connection, KEYS, [subject])
            key = None if message is None else _readable([(subject, message.data)]).get(key_id)
            if message is None or key is None or key.revoked_at is not None:
                return key
            revoked = replace(key, revoked_at=at)
            try:
                await self._write(revoked, message.sequence)
            except api.Conflict:
                continue  # somebody else has changed it meanwhile
            return revoked

    async def _write(self, key: ApiKey, revision: int) -> None:
        headers = {EXPECTED_LAST_SUBJECT_SEQUENCE: str(revision)}
        await api.publish(self._connection, Message(key_subject(key.id), to_json(key), headers))

    async def watch(self, on_change: Callable[[Keys], None]) -> None:
        # A plain re-read: nothing to lose across reconnects, restarts and a bucket that is made again.
        seen: object = None
        while True:
            try:
                info = await api.stream_info(self._connection, KEYS)
                # A bucket that is made again has higher numbers: see `topology`.
                if (state := (info.last_sequence, info.messages)) != seen:
                    on_change(await self.read_all())
                    seen = state
            except QueueUnavailable as error:
                log.debug("keys_not_read", error=str(error))
            await asyncio.sleep(self._poll_seconds)

    async def close(self) -> None:
        await self._connection.close()


class MemoryKeys:
    """Implements `fleet.ports.KeyStore` in this process, shared by its holders. It stores the same bytes."""

    def __init__(self) -> None:
        self._stored: dict[str, bytes] = {}
        self._changed = asyncio.Event()

    async def read_all(self) -> Keys:
        return _readable(self._stored.items())

    async def add(self, key: ApiKey) -> None:
        if key_subject(key.id) in self._stored:
            raise api.Conflict("there is a key of this id")
        self.store(key_subject(key.id), to_json(key))

    async def revoke(self, key_id: str, at: float) -> ApiKey | None:
        key = (await self.read_all()).get(key_id)
        if key is None or key.revoked_at is not None:
            return key
        revoked = replace(key, revoked_at=at)
        self.store(key_subject(key_id), to_json(revoked))
        return revoked

    def store(self, subject: str, body: bytes) -> None:
        """Store bytes, as a stranger could."""
        self._stored[subject] = body
        self._changed.set()
        self._changed = asyncio.Event()

    async def watch(self, on_change: Callable[[Keys], None]) -> None:
        while True:
            changed = self._changed
            on_change(await self.read_all())
            await changed.wait()

    async def close(self) -> None:
        """Do nothing: the store belongs to the process."""


def _readable(stored: Iterable[tuple[str, bytes]]) -> dict[str, ApiKey]:
    """Return the readable keys by id; any other opens nothing and is logged."""
    keys = {}
    for subject, body in stored:
        if not body:
            continue  # an operator has deleted it
        try:
            key = _RECORD.validate_json(body)
        except ValidationError as error:
            field, rule = broken_rule(error)
            log.warning("key_left_out", subject=subject, problem=f"{field}: {rule}")
            continue
        if key_subject(key.id) == subject:
            keys[key.id] = key
        else:
            log.warning("key_left_out", subject=subject, problem=f"is of {key.id}")
    return keys
