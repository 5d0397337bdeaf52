"""The broker's message for each letter: subject, headers and body. Every queue sends exactly these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fleet.model.attempt import Answer, Failure, FailureKind
from fleet.model.delivery import Post
from fleet.model.result import DeadLetter, LedgerEntry, Letter, Result, Work
from fleet.model.submission import Submission
from queues.codec import encode_submission, encode_work
from queues.records import encode_dead, encode_ledger, encode_result
from queues.subjects import (
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    MSG_ID,
    TRACEPARENT,
    dead_subject,
    job_subject,
    ledger_subject,
    result_subject,
    work_subject,
)

HEADER_ROOM_BYTES = 1024
"""The broker's limit is for headers and body together; ours are a few hundred bytes."""

DEFAULT_MAX_BYTES = 1024 * 1024 - HEADER_ROOM_BYTES
"""What a body may have where the broker's limit is NATS' default."""

_DROPPED = Failure(FailureKind.INTERNAL, "the answer was too long to be carried on")


@dataclass(frozen=True, slots=True)
class Message:
    subject: str
    data: bytes
    headers: Mapping[str, str] | None = None


def message_of(post: Post, max_bytes: int = DEFAULT_MAX_BYTES) -> Message:
    """Ids are made of what is sent, so that a repeated step sends the same id and changes nothing.

    Work that would not fit into `max_bytes` goes without its oldest answers.
    """
    message = _letter_message(post.letter, max_bytes)
    if post.traceparent is None:
        return message
    return Message(message.subject, message.data, {**(message.headers or {}), TRACEPARENT: post.traceparent})


def _letter_message(letter: Letter, max_bytes: int) -> Message:
    match letter:
        case Work(job, target, hop=hop):
            subject = work_subject(target, job.lane, job.tenant)
            return Message(subject, _fitting(letter, max_bytes), {MSG_ID: f"{job.tenant}.{job.id}.{hop}"})
        case Result(job_id, tenant):
            # The fence outlives the deduplication window and a restart of the broker.
            fence = {EXPECTED_LAST_SUBJECT_SEQUENCE: "0"}
            return Message(result_subject(tenant, job_id), encode_result(letter), fence)
        case LedgerEntry(job_id, tenant, attempt=attempt):
            number = 0 if attempt is None else attempt.number
            return Message(ledger_subject(tenant), encode_ledger(letter), {MSG_ID: f"{tenant}.{job_id}.{number}"})
        case DeadLetter(tenant, job_id):
            return Message(dead_subject(tenant), encode_dead(letter), {MSG_ID: f"{tenant}.{job_id}"})


def _fitting(work: Work, max_bytes: int) -> bytes:
    body = encode_work(work)
    answered = [n for n, attempt in enumerate(work.attempts) if isinstance(attempt.outcome, Answer)]
    while len(body) > max_bytes and answered:
        work = _without_answer(work, answered.pop(0))
        body = encode_work(work)
    return body


def _without_answer(work: Work, index: int) -> Work:
    """A failure in its place, so that nobody delivers an answer that is not there; its cost stays booked."""
    attempts = list(work.attempts)
    attempts[index] = replace(attempts[index], outcome=_DROPPED, confidence=None)
    return replace(work, attempts=tuple(attempts))


def submission_message(submission: Submission, tenant: str) -> Message:
    """Raises InvalidJob where the submission cannot be addressed or is too long."""
    headers = {MSG_ID: submission.id}
    if submission.traceparent is not None:
        headers[TRACEPARENT] = submission.traceparent
    return Message(job_subject(submission.lane, tenant), encode_submission(submission, tenant), headers)
