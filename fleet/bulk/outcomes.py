"""Writes one output line: OpenAI's batch output format, with what the fleet adds under `response.body.fleet`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from fleet.model.completion import completion_of, details_of
from fleet.model.errors import InvalidJob
from fleet.model.result import Result

SERVICE_TIER = "flex"
"""Names the lane of bulk jobs as OpenAI does."""


def answered(custom_id: str, number: int, result: Result) -> dict[str, Any]:
    """Return the output line of the finished job of line `number`: `response` if there is an answer, else `error`."""
    line = _row(result.job_id, custom_id, number)
    if result.answer is None:
        return line | {"error": _error(result) | {"fleet": details_of(result)}}
    body = completion_of(result, result.answer, SERVICE_TIER)
    return line | {"response": {"status_code": 200, "request_id": result.job_id, "body": body}}


def unreadable(custom_id: str, number: int, problem: InvalidJob) -> dict[str, Any]:
    """Return the output line for an input line that is no job."""
    error = {"code": "invalid_line", "message": str(problem), "param": problem.field, "line": number}
    return _row(None, custom_id, number) | {"error": error}


def unfinished(job_id: str, custom_id: str, number: int, code: str, message: str) -> dict[str, Any]:
    """Return the output line of a job that has no result; `code` says what ended it."""
    error = {"code": code, "message": message, "param": None}
    return _row(job_id, custom_id, number) | {"error": error}


def encoded(line: Mapping[str, Any]) -> bytes:
    """Return the bytes of an output line, with its line feed."""
    try:
        return to_json(line) + b"\n"
    except ValueError:  # half a surrogate pair, which is written as JSON escapes it
        return json.dumps(line, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"


def _row(job_id: str | None, custom_id: str, number: int) -> dict[str, Any]:
    return {"id": job_id, "custom_id": custom_id, "line": number, "response": None, "error": None}


def _error(result: Result) -> dict[str, Any]:
    problem = result.problem
    return {
        "code": result.status.value,
        "message": problem.message if problem else result.reason.value,
        "param": problem.field if problem else None,
    }
