"""Makes the broker's message for everything outbound: subject, headers and body. Every queue sends exactly these."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fleet.logs import get_logger
from fleet.model.attempt import Answer, Failure, FailureKind
from fleet.model.content import Content
from fleet.model.delivery import Stored
from fleet.model.errors import InvalidFeedback, InvalidJob
from fleet.model.feedback import Feedback
from fleet.model.result import DeadLetter, LedgerEntry, Outbound, Result, Start, Work
from fleet.model.submission import Submission
from fleet.model.unguarded import unguarded
from queues.wire.content import fitting_content
from queues.wire.dead_letter import encode_dead
from queues.wire.feedback import encode_feedback
from queues.wire.job import encode_submission, job_message_id
from queues.wire.ledger import encode_ledger
from queues.wire.result import encode_result
from queues.wire.start import encode_start
from queues.wire.subjects import (
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    MSG_ID,
    TRACEPARENT,
    cancel_subject,
    checked_job_id,
    content_subject,
    dead_subject,
    feedback_subject,
    job_subject,
    ledger_subject,
    result_subject,
    start_subject,
    work_subject,
)
from queues.wire.work import encode_work, work_message_id

HEADER_ROOM_BYTES = 1024
"""Room for headers, which the broker's limit counts with the body; ours are a few hundred bytes."""

DEFAULT_MAX_MESSAGE_BYTES = 1024 * 1024
"""NATS' default limit."""

DEFAULT_MAX_BYTES = DEFAULT_MAX_MESSAGE_BYTES - HEADER_ROOM_BYTES
"""Bytes a body may have where the broker's limit is NATS' default."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_HEADER_FRAME_BYTES = len(b"NATS/1.0\r\n\r\n")
_HEADER_LINE_BYTES = len(b": \r\n")

log = get_logger(__name__)

_DROPPED = Failure(FailureKind.INTERNAL, "the answer was too long to be carried on")


@unguarded
@dataclass(frozen=True, slots=True)
class Message:
    subject: str
    data: bytes
    headers: Mapping[str, str] | None = None

    @property
    def size_bytes(self) -> int:
        """Size of headers and body as the broker counts them."""
        if not self.headers:
            return len(self.data)
        size = len(self.data) + _HEADER_FRAME_BYTES
        for name, value in self.headers.items():
            size += len(name.encode()) + len(value.encode()) + _HEADER_LINE_BYTES
        return size


def traceparent_in(headers: Mapping[str, str] | None) -> str | None:
    """Return a well-formed W3C trace context; a publisher's header is carried on, so anything else is dropped."""
    value = None if headers is None else headers.get(TRACEPARENT)
    return value if value is not None and _TRACEPARENT.fullmatch(value) else None


def message_or_none(outbound: Outbound, traceparent: str | None, max_bytes: int) -> Message | None:
    """Return the message of `outbound`; None if no reader would take it, such as text with half a surrogate pair."""
    try:
        return message_of(outbound, traceparent, max_bytes)
    except (ValueError, InvalidFeedback) as error:
        log.warning("letter_not_written", kind=type(outbound).__name__, error=type(error).__name__)
        return None


def accepted(stored: Sequence[Stored], max_message_bytes: int) -> list[bool]:
    """Return which were new, for a desk. Raises: InvalidJob if one was refused for good; the others are stored."""
    if Stored.REFUSED in stored:
        raise InvalidJob("body", f"must fit into the broker's limit of {max_message_bytes} bytes with its headers")
    return [each is Stored.NEW for each in stored]


def message_of(outbound: Outbound, traceparent: str | None = None, max_bytes: int = DEFAULT_MAX_BYTES) -> Message:
    """Return the message, with an id made of what is sent: a repeated step sends the same id and changes nothing.

    Work that would not fit into `max_bytes` goes without its oldest answers.
    """
    return with_trace(_message(outbound, max_bytes), traceparent)


def with_trace(message: Message, traceparent: str | None) -> Message:
    if traceparent is None:
        return message
    return Message(message.subject, message.data, {**(message.headers or {}), TRACEPARENT: traceparent})


def _message(outbound: Outbound, max_bytes: int) -> Message:
    match outbound:
        case Work(job, target):
            subject = work_subject(target, job.lane, job.tenant)
            return Message(subject, _fitting(outbound, max_bytes), {MSG_ID: work_message_id(outbound)})
        case Result(job_id, tenant):
            # The fence outlives the deduplication window and a restart of the broker.
            fence = {EXPECTED_LAST_SUBJECT_SEQUENCE: "0"}
            return Message(result_subject(tenant, job_id), encode_result(outbound), fence)
        case LedgerEntry(job_id, tenant, line=line):
            return Message(ledger_subject(tenant), encode_ledger(outbound), {MSG_ID: f"{tenant}.{job_id}.{line}"})
        case DeadLetter(tenant, job_id):
            return Message(dead_subject(tenant), encode_dead(outbound), {MSG_ID: f"{tenant}.{job_id}"})
        case Start(job_id, tenant, number, call):
            # The fence tells that somebody has begun; what it finds there tells who.
            fence = {EXPECTED_LAST_SUBJECT_SEQUENCE: "0"}
            return Message(start_subject(tenant, job_id, number, call), encode_start(outbound), fence)
        case Feedback():
            return feedback_message(outbound)
        case Content(job_id, tenant):
            # A comparison's content has one answer more than its job's, whose place it takes in the store.
            message_id = f"{tenant}.{job_id}.{len(outbound.answers)}"
            return Message(content_subject(tenant), fitting_content(outbound, max_bytes), {MSG_ID: message_id})


def _fitting(work: Work, max_bytes: int) -> bytes:
    body = encode_work(work)
    answered = [n for n, attempt in enumerate(work.attempts) if isinstance(attempt.outcome, Answer)]
    while len(body) > max_bytes and answered:
        work = _without_answer(work, answered.pop(0))
        body = encode_work(work)
    return body


def _without_answer(work: Work, index: int) -> Work:
    """Replace the answer by a failure, so that nobody delivers a missing answer; its cost stays booked."""
    attempts = list(work.attempts)
    attempts[index] = replace(attempts[index], outcome=_DROPPED, confidence=None)
    return replace(work, attempts=tuple(attempts))


def submission_message(submission: Submission, tenant: str, secret: bytes = b"") -> Message:
    """Return the submission's message. Raises: InvalidJob if it has no valid id or Unicode, or is too long."""
    message_id = job_message_id(tenant, submission.id)
    if secret:
        # The broker compares these across tenants, and anyone who guesses one can be first.
        message_id += f".{hmac.digest(secret, message_id.encode(), 'sha256')[:16].hex()}"
    headers = {MSG_ID: message_id}
    if submission.traceparent is not None:
        headers[TRACEPARENT] = submission.traceparent
    return Message(job_subject(submission.lane, tenant), encode_submission(submission, tenant), headers)


def cancel_message(tenant: str, job_id: str) -> Message:
    """Return the message that cancels a job. Raises: InvalidJob if `job_id` cannot be an id."""
    return Message(cancel_subject(tenant, checked_job_id(job_id)), b"")


def feedback_message(feedback: Feedback) -> Message:
    """Return the feedback's message. Raises: InvalidFeedback if a reader would refuse it."""
    subject = feedback_subject(feedback.tenant, feedback.source)
    return Message(subject, encode_feedback(feedback), {MSG_ID: f"{feedback.tenant}.{feedback.id}"})
