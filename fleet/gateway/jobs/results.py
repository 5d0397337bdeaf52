"""What a caller is told of a job without an answer, at any door: an error."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.gateway.errors import NO_RETRY, ApiError
from fleet.gateway.jobs.terms import refused
from fleet.gateway.state import Doors
from fleet.model.attempt import Answer, Failure, FailureKind
from fleet.model.reason import MEANINGS, Reason
from fleet.model.result import Result, Status

QUOTA_SECONDS = 5
"""`Retry-After` where too many of the tenant's jobs waited."""

_OF_REQUEST: Mapping[FailureKind, str] = {
    FailureKind.CONTEXT_TOO_LONG: "context_length_exceeded",
    FailureKind.CONTENT_FILTER: "content_filter",
    FailureKind.INVALID_REQUEST: "invalid_value",
}
"""The codes of failures that the request itself is the reason for."""


def answer_in(result: Result, doors: Doors) -> Answer:
    """Return the answer. Raises: ApiError where there is none."""
    if result.answer is None:
        raise error_of(result, doors)
    return result.answer


def error_of(result: Result, doors: Doors) -> ApiError:
    """Return the error for a result without an answer. The fleet has tried again already: the caller need not."""
    error = _error_of(result, doors)
    if "retry-after" not in error.headers:
        error.headers |= NO_RETRY
    return error


def _error_of(result: Result, doors: Doors) -> ApiError:
    said = MEANINGS[result.reason] if result.problem is None else result.problem.message
    match result.status, result.reason:
        case Status.REJECTED, Reason.OVER_QUOTA:
            again = {"retry-after": str(QUOTA_SECONDS)}
            return ApiError(429, said, "requests", code="rate_limit_exceeded", headers=again)
        case Status.REJECTED, _ if result.problem is not None:
            return refused(result.problem, doors)
        case Status.EXPIRED, _:
            return ApiError(504, said, "timeout_error", code="deadline_exceeded")
        case Status.CANCELLED, _:
            return ApiError(409, said, code="cancelled")
        case _, Reason.OUT_OF_MONEY:
            return ApiError(429, said, "insufficient_quota", code="insufficient_quota")
        case _, Reason.NO_TARGET | Reason.RESIDENCY:
            return ApiError(400, said, code=result.reason.value)
        case _:
            return _failed(result, said)


def _failed(result: Result, said: str) -> ApiError:
    outcomes = [attempt.outcome for attempt in result.attempts]
    last = outcomes[-1] if outcomes else None
    if isinstance(last, Failure) and last.kind in _OF_REQUEST:
        return ApiError(400, said, code=_OF_REQUEST[last.kind])
    return ApiError(502, said, code=result.reason.value)
