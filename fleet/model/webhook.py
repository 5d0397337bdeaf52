"""Webhooks: the events of a tenant, the endpoints that hear of them, and each event on its way to one of them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum

EVENT_ID = re.compile(r"evt_[0-9a-f]{24}")
ENDPOINT_ID = re.compile(r"we_[0-9a-f]{24}")


class EventType(StrEnum):
    """The types of events, named as OpenAI does. Its verifiers take any other for one of theirs."""

    BATCH_COMPLETED = "batch.completed"
    BATCH_FAILED = "batch.failed"
    BATCH_EXPIRED = "batch.expired"
    BATCH_CANCELLED = "batch.cancelled"
    RESPONSE_COMPLETED = "response.completed"
    RESPONSE_FAILED = "response.failed"
    RESPONSE_CANCELLED = "response.cancelled"
    RESPONSE_INCOMPLETE = "response.incomplete"


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """Something that has happened to a batch or a response of a tenant, at `at` in unix seconds.

    `object_id` is the batch's or the response's.
    """

    tenant: str
    type: EventType
    object_id: str
    at: float

    @property
    def id(self) -> str:
        """The event's id, the same whoever announces it and however often: receivers tell repetitions by it."""
        names = "\n".join((self.tenant, self.type, self.object_id))
        return f"evt_{hashlib.sha256(names.encode()).hexdigest()[:24]}"


@dataclass(frozen=True, slots=True)
class ExpectedResponse:
    """A response in the background, whose event is due as soon as its job has a result. `at` is when it was asked."""

    tenant: str
    job_id: str
    at: float


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """An address of a tenant that events are sent to, in unix seconds.

    The secret that signs them is made of the operator's key and of `salt`; after a rotation the secret of
    `previous_salt` signs too, until `previous_until`. `ended_at` is when the address said that it is gone for good.
    """

    id: str
    tenant: str
    name: str
    url: str
    event_types: frozenset[EventType]
    salt: str
    created_at: float
    updated_at: float
    previous_salt: str | None = None
    previous_until: float = 0.0
    ended_at: float | None = None

    def wants(self, event: WebhookEvent) -> bool:
        return self.ended_at is None and event.type in self.event_types

    def salts(self, now: float) -> tuple[str, ...]:
        """Return the salts of the secrets that sign at `now`, the latest first."""
        if self.previous_salt is None or now >= self.previous_until:
            return (self.salt,)
        return (self.salt, self.previous_salt)


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """An event on its way to an endpoint. `attempt` counts from 1 and is made at `due_at`, in unix seconds."""

    event: WebhookEvent
    endpoint_id: str
    attempt: int
    due_at: float


Announced = WebhookEvent | ExpectedResponse


@dataclass(frozen=True, slots=True)
class TakenEvent:
    """A message of the outbox in hand, stored at `stored_at` in unix seconds. `token` is the feed's own."""

    body: Announced | WebhookDelivery
    stored_at: float
    token: object
