"""DEAD: a message that could not be read or finished, kept with the reason."""

from __future__ import annotations

import base64
from typing import Annotated, Literal

from pydantic import Field
from pydantic_core import to_json

from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, Problem
from queues.wire.record import Version, Written, read, writer
from queues.wire.result import ProblemRecord, problem_record

MAX_DEAD_BODY_BYTES = 512 * 1024
"""Bytes of the body that a dead letter keeps; they fit into a message even as base64."""

MAX_DEAD_TEXT_BYTES = 700 * 1024


class DeadLetterRecord(Written):
    """A message that could not be read or finished, on `dead.<tenant>`; `lane` is where its job waited.

    `body` is text, or base64 where the bytes are no UTF-8; the first 512 KiB of `body_bytes`.
    """

    schema_: Version
    job_id: Annotated[str, Field(alias="id")]
    tenant: str
    reason: Reason
    problem: Annotated[ProblemRecord, Field(alias="error")]
    encoding: Literal["utf-8", "base64"]
    body: str
    body_bytes: int
    at: float
    lane: Lane | None = None


_write_letter = writer(DeadLetter, DeadLetterRecord, apart=("body", "problem"))


def encode_dead(letter: DeadLetter) -> bytes:
    record = _write_letter(letter)
    record["error"] = problem_record(letter.problem)
    record["encoding"], record["body"] = _as_text(letter.body[:MAX_DEAD_BODY_BYTES])
    record["body_bytes"] = len(letter.body)
    return to_json(record)


def _as_text(body: bytes) -> tuple[str, str]:
    """Return text as it is; base64 for other bytes, and for text that escaping would make too large."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return "base64", base64.b64encode(body).decode()
    if len(body) * 6 > MAX_DEAD_TEXT_BYTES and len(to_json(text)) > MAX_DEAD_TEXT_BYTES:
        return "base64", base64.b64encode(body).decode()
    return "utf-8", text


def decode_dead(body: bytes) -> DeadLetter:
    """Return the dead letter in these bytes. Raises: ValueError if they hold none."""
    record: DeadLetterRecord = read(DeadLetterRecord, body, "dead letter")
    held = vars(record)
    del held["schema_"], held["body_bytes"]
    encoding, text = held.pop("encoding"), held.pop("body")
    held["problem"] = Problem(**vars(record.problem))
    return DeadLetter(body=base64.b64decode(text) if encoding == "base64" else text.encode(), **held)
