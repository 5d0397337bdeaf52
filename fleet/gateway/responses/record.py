"""The record of a response: what is told of it beside its job's result. It holds no prompt and no answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from fleet.gateway.errors import ApiError
from fleet.gateway.jobs.terms import LANES
from fleet.gateway.responses.asked import ResponseBody
from fleet.model.job import JOB_ID, Job, Lane

PREFIX = "resp_"

MAX_RECORD_BYTES = 64 * 1024

_ID = re.compile(f"{PREFIX}({JOB_ID.pattern})")

_ECHOED = (
    *("metadata", "temperature", "top_p", "max_output_tokens", "parallel_tool_calls", "tool_choice", "truncation"),
    *("text", "reasoning", "service_tier", "user", "safety_identifier", "prompt_cache_key"),
)
"""The fields of a request that its response repeats."""


@dataclass(frozen=True, slots=True)
class ResponseRecord:
    """A response that was created. `created_at` and `ends_by`, when its job ends at the latest, are unix seconds.

    `asked` are the fields that the response repeats, as they came.
    """

    job_id: str
    model: str
    created_at: float
    ends_by: float
    background: bool
    asked: Mapping[str, Any]

    @property
    def id(self) -> str:
        return f"{PREFIX}{self.job_id}"

    @property
    def lane(self) -> Lane:
        return LANES[self.asked.get("service_tier")]


_RECORDS = TypeAdapter(ResponseRecord)


def record_of(body: ResponseBody, job: Job, ends_by: float) -> ResponseRecord:
    said = body.model_dump(include=set(_ECHOED), exclude_none=True, by_alias=True)
    return ResponseRecord(job.id, body.model or "auto", job.submitted_at, ends_by, bool(body.background), said)


def encode_record(record: ResponseRecord) -> bytes:
    """Return the record as JSON. Raises: ApiError, 400, if it is too large to be kept."""
    body = _RECORDS.dump_json(record)
    if len(body) > MAX_RECORD_BYTES:
        rule = f"must leave what is kept of the response within {MAX_RECORD_BYTES} bytes"
        raise ApiError(400, f"text: {rule}", param="text", code="invalid_value")
    return body


def decode_record(body: bytes) -> ResponseRecord:
    """Return the record in these bytes. Raises: ValueError if they hold none."""
    return _RECORDS.validate_json(body)


def job_id_in(response_id: str) -> str | None:
    """Return the id of the response's job, or None if this is the id of no response."""
    found = _ID.fullmatch(response_id)
    return None if found is None else found[1]
