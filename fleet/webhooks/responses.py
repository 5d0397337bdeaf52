"""Which event the result of a job is, where the job was a response in the background."""

from __future__ import annotations

from fleet.model.result import Result, Status
from fleet.model.webhook import EventType, ExpectedResponse, WebhookEvent

CUT_SHORT = frozenset({"length", "content_filter"})
"""The finish reasons of answers that are not complete."""


def event_of(expected: ExpectedResponse, result: Result) -> WebhookEvent:
    return WebhookEvent(expected.tenant, type_of(result), f"resp_{expected.job_id}", result.finished_at)


def type_of(result: Result) -> EventType:
    """Return the type, which says of a response what retrieving it says."""
    if result.answer is not None:
        is_cut = result.answer.finish_reason in CUT_SHORT
        return EventType.RESPONSE_INCOMPLETE if is_cut else EventType.RESPONSE_COMPLETED
    return EventType.RESPONSE_CANCELLED if result.status is Status.CANCELLED else EventType.RESPONSE_FAILED
