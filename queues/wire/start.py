"""STARTS: the note of a call that is about to be made. Nobody decodes it: its presence is the message."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_core import to_json

from fleet.model.result import Start
from queues.wire.record import Version, Written, writer


class StartRecord(Written):
    schema_: Version
    job_id: Annotated[str, Field(alias="id")]
    tenant: str
    attempt: int
    call: int
    target: str
    at: float
    by: str


_write_start = writer(Start, StartRecord)


def encode_start(start: Start) -> bytes:
    return to_json(_write_start(start))
