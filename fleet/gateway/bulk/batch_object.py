"""A batch as OpenAI's API shows one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from typing_extensions import TypedDict

from fleet.model.attempt import Usage
from fleet.model.batch import Batch, BatchStatus, LineProblem

PROBLEM = "invalid_request"
"""The code of every line that is no job; its message says what is wrong."""


class BatchErrorObject(TypedDict):
    code: str
    message: str
    param: str | None
    line: int | None


class BatchErrorList(TypedDict):
    object: Literal["list"]
    data: list[BatchErrorObject]


class RequestCounts(TypedDict):
    total: int
    completed: int
    failed: int


class CachedTokens(TypedDict):
    cached_tokens: int


class ReasoningTokens(TypedDict):
    reasoning_tokens: int


class BatchUsageObject(TypedDict):
    input_tokens: int
    input_tokens_details: CachedTokens
    output_tokens: int
    output_tokens_details: ReasoningTokens
    total_tokens: int


class BatchObject(TypedDict):
    """OpenAI's object. The files of output and errors are named, and readable, from their first row on."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str | None
    errors: BatchErrorList | None
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsageObject
    metadata: Mapping[str, str]


def batch_object(batch: Batch) -> BatchObject:
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": None,
        "errors": {"object": "list", "data": [_problem(each) for each in batch.problems]} if batch.problems else None,
        "input_file_id": batch.input_file_id,
        "completion_window": window_text(batch.completion_window_seconds),
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": int(batch.created_at),
        "in_progress_at": _moment(batch.in_progress_at),
        "expires_at": int(batch.expires_at),
        "finalizing_at": _moment(batch.finalizing_at),
        "completed_at": _moment(batch.completed_at),
        "failed_at": _moment(batch.failed_at),
        "expired_at": _moment(batch.expired_at),
        "cancelling_at": _moment(batch.cancelling_at),
        "cancelled_at": _moment(batch.cancelled_at),
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "usage": _usage(batch.usage),
        "metadata": dict(batch.metadata),
    }


def _problem(problem: LineProblem) -> BatchErrorObject:
    where = f" (line {problem.line}, byte {problem.byte})" if problem.line else ""
    message = f"{problem.field}: {problem.rule}{where}"
    return {"code": PROBLEM, "message": message, "param": problem.field, "line": problem.line or None}


def _usage(usage: Usage) -> BatchUsageObject:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def window_text(seconds: float) -> str:
    """Return a duration as OpenAI writes it: 24h; in minutes if it is no whole number of hours."""
    hours, rest = divmod(int(seconds), 3600)
    return f"{int(seconds) // 60}m" if rest else f"{hours}h"


def _moment(unix_seconds: float | None) -> int | None:
    return None if unix_seconds is None else int(unix_seconds)
