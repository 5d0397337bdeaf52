"""Writes one output line: OpenAI's batch output format, with what the fleet adds under `response.body.fleet`."""

from __future__ import annotations

from typing import Any

from fleet.model.attempt import Answer, Usage
from fleet.model.errors import InvalidJob
from fleet.model.result import Result


def answered(custom_id: str, number: int, result: Result) -> dict[str, Any]:
    """Return the output line of the finished job of line `number`: `response` if there is an answer, else `error`."""
    line = _row(result.job_id, custom_id, number)
    if result.answer is None:
        return line | {"error": _error(result) | {"fleet": _account(result)}}
    body = completion(result, result.answer) | {"fleet": _account(result)}
    return line | {"response": {"status_code": 200, "request_id": result.job_id, "body": body}}


def unreadable(custom_id: str, number: int, problem: InvalidJob) -> dict[str, Any]:
    """Return the output line for an input line that is no job."""
    error = {"code": "invalid_line", "message": str(problem), "param": problem.field, "line": number}
    return _row(None, custom_id, number) | {"error": error}


def unfinished(job_id: str, custom_id: str, number: int, code: str, message: str) -> dict[str, Any]:
    """Return the output line of a job that has no result; `code` says what ended it."""
    error = {"code": code, "message": message, "param": None}
    return _row(job_id, custom_id, number) | {"error": error}


def _row(job_id: str | None, custom_id: str, number: int) -> dict[str, Any]:
    return {"id": job_id, "custom_id": custom_id, "line": number, "response": None, "error": None}


def completion(result: Result, answer: Answer) -> dict[str, Any]:
    """Return the answer as an OpenAI chat completion."""
    return {
        "id": result.job_id,
        "object": "chat.completion",
        "created": int(result.finished_at),
        "model": answer.model,
        "choices": [{"index": 0, "message": dict(answer.message), "finish_reason": answer.finish_reason}],
        "usage": _usage(answer.usage),
    }


def _usage(usage: Usage) -> dict[str, Any]:
    totals: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.cached_input_tokens or usage.cache_write_tokens:
        details = {"cached_tokens": usage.cached_input_tokens, "cache_write_tokens": usage.cache_write_tokens}
        totals["prompt_tokens_details"] = details
    if usage.reasoning_tokens:
        totals["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return totals


def _error(result: Result) -> dict[str, Any]:
    problem = result.problem
    return {
        "code": result.status.value,
        "message": problem.message if problem else result.reason.value,
        "param": problem.field if problem else None,
    }


def _account(result: Result) -> dict[str, Any]:
    """Return what the fleet did for this answer."""
    return {
        "status": result.status.value,
        "reason": result.reason.value,
        "target": result.target,
        "confidence": result.confidence,
        "cost_usd": result.cost_usd,
        "attempts": len(result.attempts),
    }
