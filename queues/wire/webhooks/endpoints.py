"""The bucket `webhooks`: a tenant's endpoints. No record holds a secret, only what one is made of."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from fleet.model.webhook import WebhookEndpoint
from queues.wire.record import broken_rule
from queues.wire.subjects import endpoint_subject

_RECORD = TypeAdapter(WebhookEndpoint)


def encode_endpoint(endpoint: WebhookEndpoint) -> bytes:
    return to_json(endpoint)


def decode_endpoint(subject: str, body: bytes) -> WebhookEndpoint:
    """Return the endpoint stored under a subject. Raises: ValueError if it is none, or another's."""
    try:
        endpoint = _RECORD.validate_json(body)
    except ValidationError as error:
        raise ValueError(": ".join(broken_rule(error))) from None
    if endpoint_subject(endpoint.tenant, endpoint.id) != subject:
        raise ValueError(f"is of {endpoint.tenant} {endpoint.id}")
    return endpoint
