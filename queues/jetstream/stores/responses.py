"""The records of responses: the NATS key-value bucket `responses`, and its twin in this process."""

from __future__ import annotations

from queues.jetstream import api
from queues.jetstream.client.connection import Connection
from queues.memory import MemoryBroker
from queues.wire.letters import Message
from queues.wire.subjects import RESPONSES, checked_job_id, response_subject

GONE = b""
"""The value of a key that was deleted, for every NATS client that marks it so."""

_DELETED = {"KV-Operation": "DEL"}


class JetStreamResponses:
    """Implements `fleet.ports.ResponseStore` for one tenant."""

    def __init__(self, connection: Connection, tenant: str) -> None:
        self._connection = connection
        self._tenant = tenant

    async def get(self, job_id: str) -> bytes | None:
        # Not a direct get: a server that lags would deny a record that was written a moment ago.
        [message] = await api.last_by_subject(self._connection, RESPONSES, [self._subject(job_id)])
        return None if message is None or message.data == GONE else message.data

    async def put(self, job_id: str, record: bytes) -> None:
        await api.publish(self._connection, Message(self._subject(job_id), record))

    async def delete(self, job_id: str) -> None:
        await api.publish(self._connection, Message(self._subject(job_id), GONE, _DELETED))

    def _subject(self, job_id: str) -> str:
        return response_subject(self._tenant, checked_job_id(job_id))


class MemoryResponses:
    """Implements `fleet.ports.ResponseStore` for one tenant on a MemoryBroker."""

    def __init__(self, broker: MemoryBroker, tenant: str) -> None:
        self._broker = broker
        self._tenant = tenant

    async def get(self, job_id: str) -> bytes | None:
        message = self._broker.last(self._subject(job_id))
        return None if message is None or message.data == GONE else message.data

    async def put(self, job_id: str, record: bytes) -> None:
        self._broker.store(Message(self._subject(job_id), record))

    async def delete(self, job_id: str) -> None:
        self._broker.store(Message(self._subject(job_id), GONE, _DELETED))

    def _subject(self, job_id: str) -> str:
        return response_subject(self._tenant, checked_job_id(job_id))
