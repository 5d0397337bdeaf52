"""The webhook endpoints of all tenants: the NATS key-value bucket `webhooks`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fleet.logs import get_logger
from fleet.model.webhook import WebhookEndpoint
from queues.jetstream import api
from queues.jetstream.client.connection import Connection
from queues.wire.letters import Message
from queues.wire.subjects import EXPECTED_LAST_SUBJECT_SEQUENCE, WEBHOOKS, endpoint_subject
from queues.wire.webhooks.endpoints import decode_endpoint, encode_endpoint

log = get_logger(__name__)

Stored = tuple[WebhookEndpoint, int]


class JetStreamEndpoints:
    """Implements `fleet.webhooks.ports.EndpointStore` on the bucket `webhooks`, which the topology makes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(self, tenant: str) -> Sequence[WebhookEndpoint]:
        info = await api.stream_info(self._connection, WEBHOOKS, endpoint_subject(tenant, "*"))
        found = await api.last_by_subject(self._connection, WEBHOOKS, info.subjects)
        return [endpoint for endpoint, _ in readable(found)]

    async def get(self, tenant: str, endpoint_id: str) -> Stored | None:
        found = await api.last_by_subject(self._connection, WEBHOOKS, [endpoint_subject(tenant, endpoint_id)])
        return next(iter(readable(found)), None)

    async def put(self, endpoint: WebhookEndpoint, revision: int) -> bool:
        subject = endpoint_subject(endpoint.tenant, endpoint.id)
        headers = {EXPECTED_LAST_SUBJECT_SEQUENCE: str(revision)}
        try:
            await api.publish(self._connection, Message(subject, encode_endpoint(endpoint), headers))
        except api.Conflict:
            return False
        return True

    async def delete(self, tenant: str, endpoint_id: str) -> bool:
        [found] = await api.last_by_subject(self._connection, WEBHOOKS, [endpoint_subject(tenant, endpoint_id)])
        return found is not None and await api.delete(self._connection, WEBHOOKS, found.sequence)


def readable(stored: Iterable[api.StoredMessage | None]) -> list[Stored]:
    """Return the readable endpoints with their revisions; any other is sent nothing, and is logged."""
    endpoints = []
    for message in stored:
        if message is None or not message.data:  # an operator has deleted it
            continue
        try:
            endpoints.append((decode_endpoint(message.subject, message.data), message.sequence))
        except ValueError as error:
            log.warning("webhook_endpoint_left_out", subject=message.subject, problem=str(error))
    return endpoints
