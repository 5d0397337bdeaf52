"""CONTENT: what was asked and answered, on its way from a dispatcher to the content store."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from fleet.model.content import Content
from queues.wire.record import Version, Written, read, writer


class ContentRecord(Written):
    """A job's request and its delivered answer, on `content.<tenant>`, where the rule of its task collects them."""

    schema_: Version
    job_id: str
    tenant: str
    task: str
    at: float
    request: dict[str, Any]
    message: dict[str, Any]
    target: str | None = None
    person: str | None = None


_write_content = writer(Content, ContentRecord)


def encode_content(content: Content) -> bytes:
    return to_json(_write_content(content), inf_nan_mode="null", fallback=dict)


def decode_content(body: bytes) -> Content:
    """Return the content in these bytes. Raises: ValueError if they hold none."""
    record: ContentRecord = read(ContentRecord, body, "content")
    held = vars(record)
    del held["schema_"]
    return Content(**held)
