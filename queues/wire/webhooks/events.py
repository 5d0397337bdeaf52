"""EVENTS: what has happened, and each event on its way to an endpoint."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_core import to_json

from fleet.model.webhook import ENDPOINT_ID, Announced, EventType, ExpectedResponse, WebhookDelivery, WebhookEvent
from queues.wire.letters import Message
from queues.wire.record import WORDS, Count, JobId, Version, Written, read, writer
from queues.wire.subjects import EXPECTED_LAST_SUBJECT_SEQUENCE, MSG_ID, delivery_subject, event_subject

Moment = Annotated[float, Field(allow_inf_nan=False)]
ObjectId = Annotated[str, Field(min_length=1, max_length=128)]


class EventRecord(Written):
    """An event on `events.<tenant>`; on `events.<tenant>.<endpoint>.<event>` with its next attempt."""

    schema_: Version
    type: Annotated[EventType, WORDS]
    object_id: ObjectId
    at: Moment


class DeliveryRecord(EventRecord):
    attempt: Annotated[Count, Field(ge=1)]
    due_at: Moment


class ExpectedRecord(Written):
    """A response on `events.<tenant>` that has no result yet."""

    schema_: Version
    job_id: JobId
    at: Moment


_write_event = writer(WebhookEvent, EventRecord, apart={"tenant"})
_write_delivery = writer(WebhookDelivery, DeliveryRecord, apart={"event", "endpoint_id"})
_write_expected = writer(ExpectedResponse, ExpectedRecord, apart={"tenant"})


def announcement(announced: Announced) -> Message:
    """Return the message of what is announced; repeated, it changes nothing."""
    match announced:
        case WebhookEvent(tenant):
            body, name = _write_event(announced), announced.id
        case ExpectedResponse(tenant, job_id):
            body, name = _write_expected(announced), job_id
    return Message(event_subject(tenant), to_json(body), {MSG_ID: f"{tenant}.{name}"})


def delivery_message(delivery: WebhookDelivery, sequence: int) -> Message:
    """Return the message of a delivery, stored only if number `sequence` is the last on its subject; 0: none may be."""
    event = delivery.event
    subject = delivery_subject(event.tenant, delivery.endpoint_id, event.id)
    body = to_json(_write_event(event) | _write_delivery(delivery))
    return Message(subject, body, {EXPECTED_LAST_SUBJECT_SEQUENCE: str(sequence)})


def decode_event(subject: str, body: bytes) -> Announced | WebhookDelivery:
    """Return what lies on a subject of EVENTS. The tenant and the endpoint are the subject's. Raises: ValueError."""
    match subject.split("."):
        case [_, tenant, endpoint_id, _] if ENDPOINT_ID.fullmatch(endpoint_id):
            found: DeliveryRecord = read(DeliveryRecord, body, "delivery")
            return WebhookDelivery(_event(tenant, found), endpoint_id, found.attempt, found.due_at)
        case [_, tenant] if b'"job_id"' in body:
            expected: ExpectedRecord = read(ExpectedRecord, body, "expected response")
            return ExpectedResponse(tenant, expected.job_id, expected.at)
        case [_, tenant]:
            return _event(tenant, read(EventRecord, body, "event"))
        case _:
            raise ValueError("is on no subject of an event")


def _event(tenant: str, record: EventRecord) -> WebhookEvent:
    return WebhookEvent(tenant, record.type, record.object_id, record.at)
