"""Feedback to bytes and back. It comes from strangers, so it is validated in full on the way in and on the way out."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from pydantic_core import from_json, to_json

from fleet.model.errors import InvalidFeedback
from fleet.model.feedback import Feedback, Verdict, Witness
from fleet.model.job import TENANT
from fleet.model.result import Problem
from queues.wire.chat import Strict
from queues.wire.problems import checked, field_problem
from queues.wire.record import VERSION, WORDS, FeedbackId, JobId, TargetName, TenantName, Version, writer
from queues.wire.subjects import feedback_subject

MAX_FEEDBACK_BYTES = 256 * 1024
"""Room for the longest text with every character escaped."""

MAX_TEXT_CHARACTERS = 32_768


class FeedbackRecord(Strict):
    """An opinion of a job's answer, as a publisher sends it to `feedback.<tenant>`.

    `id` is the feedback's own, `job_id` the job's. `edited` needs `text`, the answer as edited; otherwise `text` is a
    remark. `changed` belongs to `edited`. Only dispatchers send `source` shadow, with `target` and `propensity`, on
    `feedback.<tenant>.shadow`.
    """

    schema_: Version = VERSION
    id: FeedbackId
    job_id: JobId
    tenant: TenantName | None = None
    verdict: Annotated[Verdict, WORDS]
    source: Annotated[Witness, WORDS] = Witness.USER
    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)] | None = None
    changed: bool | None = None
    target: TargetName | None = None
    propensity: Annotated[float, Field(gt=0, le=1)] | None = None


_write_feedback = writer(Feedback, FeedbackRecord, apart=("at",))


def encode_feedback(feedback: Feedback) -> bytes:
    """Encode feedback. Raises: InvalidFeedback if a reader would refuse it: feedback gets no answer to say so later."""
    fields = _write_feedback(feedback)
    try:
        body = to_json({name: value for name, value in fields.items() if value is not None}, inf_nan_mode="constants")
    except ValueError:
        raise InvalidFeedback("text", "must be valid Unicode") from None
    read = decode_feedback(body, feedback_subject(feedback.tenant, feedback.source), feedback.at)
    if isinstance(read, Problem):
        raise InvalidFeedback(read.field or "body", read.rule or read.message)
    return body


def decode_feedback(body: bytes, subject: str, stored_at: float) -> Feedback | Problem:
    """Return the feedback on `feedback.<tenant>[.shadow]`, or its problem. `stored_at` is the broker's time."""
    sent = _parsed(body)
    if isinstance(sent, Problem):
        return sent
    read = checked(FeedbackRecord.model_validate, sent)
    if isinstance(read, Problem):
        return read
    if problem := _subject_problem(read, subject):
        return problem
    said: dict[str, Any] = vars(read)
    del said["schema_"]
    said["tenant"] = _tenant(subject)
    feedback = Feedback(at=stored_at, **said)
    return _contradiction(feedback) or feedback


def _parsed(body: bytes) -> dict[str, Any] | Problem:
    if len(body) > MAX_FEEDBACK_BYTES:
        return field_problem("body", f"must be at most {MAX_FEEDBACK_BYTES} bytes, not {len(body)}")
    try:
        sent = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        return field_problem("body", f"must be JSON: {error}")
    return sent if isinstance(sent, dict) else field_problem("body", "must be a JSON object")


def _contradiction(feedback: Feedback) -> Problem | None:
    """Return a problem that no single field is to blame for, or None."""
    if feedback.verdict is Verdict.EDITED and feedback.text is None:
        return field_problem("text", "is required with verdict edited: the answer as edited")
    if feedback.verdict is not Verdict.EDITED and feedback.changed is not None:
        return field_problem("changed", "belongs to verdict edited")
    if feedback.source is not Witness.SHADOW:
        return None if feedback.propensity is None else field_problem("propensity", "belongs to source shadow")
    if feedback.verdict not in (Verdict.GOOD, Verdict.BAD):
        return field_problem("verdict", "must be good or bad from source shadow")
    for name in ("target", "propensity"):
        if getattr(feedback, name) is None:
            return field_problem(name, "is required from source shadow")
    return None


def _subject_problem(read: FeedbackRecord, subject: str) -> Problem | None:
    """Refuse a bad tenant name, and a body that disagrees with the subject, which the broker's permissions checked."""
    tenant = _tenant(subject)
    if not TENANT.fullmatch(tenant):
        return field_problem("subject", f"must name a tenant that matches {TENANT.pattern}")
    if read.tenant not in (None, tenant):
        return field_problem("tenant", f"must be the tenant of the subject, {tenant}")
    if subject != feedback_subject(tenant, read.source):
        return field_problem("source", f"{read.source} cannot speak on {subject}")
    return None


def _tenant(subject: str) -> str:
    return subject.split(".")[1]
