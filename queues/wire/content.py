"""CONTENT: what was asked and answered, on its way from a dispatcher to the content store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic_core import to_json

from fleet.model.content import Content, GivenAnswer
from fleet.model.reason import Reason
from queues.wire.record import Version, Written, read, writer


class GivenAnswerRecord(Written):
    """An answer of a target, and who that was; `message` is null where it is the delivered one."""

    target: str
    model: str
    reason: Reason
    provider: str | None = None
    confidence: float | None = None
    calibration: str | None = None
    threshold: float | None = None
    delivered: bool = False
    message: dict[str, Any] | None = None


class ContentRecord(Written):
    """A job's request and its delivered answer, on `content.<tenant>`, where the rule of its task collects them.

    `answers` are all that were given, those that were replaced and a comparison's among them.
    """

    schema_: Version
    job_id: str
    tenant: str
    task: str
    at: float
    request: dict[str, Any]
    message: dict[str, Any]
    target: str | None = None
    person: str | None = None
    status: str | None = None
    answers: tuple[GivenAnswerRecord, ...] = ()


_write_content = writer(Content, ContentRecord, apart=("answers",))
_write_answer = writer(GivenAnswer, GivenAnswerRecord)


def encode_content(content: Content) -> bytes:
    record = _write_content(content)
    record["answers"] = [_write_answer(each) for each in content.answers]
    return to_json(record, inf_nan_mode="null", fallback=dict)


def fitting_content(content: Content, max_bytes: int) -> bytes:
    """Return the content as bytes; where they would be more than `max_bytes`, without any answer but the delivered."""
    body = encode_content(content)
    if len(body) <= max_bytes:
        return body
    return encode_content(replace(content, answers=tuple(each for each in content.answers if each.delivered)))


def decode_content(body: bytes) -> Content:
    """Return the content in these bytes. Raises: ValueError if they hold none."""
    record: ContentRecord = read(ContentRecord, body, "content")
    held = vars(record)
    del held["schema_"]
    held["answers"] = tuple(GivenAnswer(**vars(each)) for each in record.answers)
    return Content(**held)
