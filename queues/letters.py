"""The broker's message for each letter: subject, headers and body. Every queue sends exactly these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Message:
    subject: str
    data: bytes
    headers: Mapping[str, str] | None = None


def message_of(post: Post) -> Message:
    """Ids are made of what is sent, so that a repeated step sends the same id and changes nothing."""
    message = _letter_message(post.letter)
    if post.traceparent is None:
        return message
    return Message(message.subject, message.data, {**(message.headers or {}), TRACEPARENT: post.traceparent})


def _letter_message(letter: Letter) -> Message:
    match letter:
        case Work(job, target, hop=hop):
            subject = work_subject(target, job.lane, job.tenant)
            return Message(subject, encode_work(letter), {MSG_ID: f"{job.tenant}.{job.id}.{hop}"})
        case Result(job_id, tenant):
            # The fence outlives the deduplication window and a restart of the broker.
            fence = {EXPECTED_LAST_SUBJECT_SEQUENCE: "0"}
            return Message(result_subject(tenant, job_id), encode_result(letter), fence)
        case LedgerEntry(job_id, tenant, attempt=attempt):
            number = 0 if attempt is None else attempt.number
            return Message(ledger_subject(tenant), encode_ledger(letter), {MSG_ID: f"{tenant}.{job_id}.{number}"})
        case DeadLetter(tenant, job_id):
            return Message(dead_subject(tenant), encode_dead(letter), {MSG_ID: f"{tenant}.{job_id}"})


def submission_message(submission: Submission, tenant: str) -> Message:
    """Raises InvalidJob where the submission cannot be addressed or is too long."""
    headers = {MSG_ID: submission.id}
    if submission.traceparent is not None:
        headers[TRACEPARENT] = submission.traceparent
    return Message(job_subject(submission.lane, tenant), encode_submission(submission, tenant), headers)
