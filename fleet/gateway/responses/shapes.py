"""OpenAI's response and the events of its stream, as made from a record and a result: the same ones each time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from typing_extensions import TypedDict

from fleet.gateway.responses.record import ResponseRecord
from fleet.model.attempt import Answer, Usage
from fleet.model.completion import FleetDetails, details_of
from fleet.model.reason import MEANINGS, Reason
from fleet.model.result import Result, Status

ResponseStatus = Literal["queued", "in_progress", "completed", "failed", "cancelled", "incomplete"]

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer is not complete, by its finish reason."""

Item = dict[str, Any]
Event = dict[str, Any]


class ResponseProblem(TypedDict):
    code: str
    message: str


class Incomplete(TypedDict):
    reason: str


class InputDetails(TypedDict):
    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(TypedDict):
    reasoning_tokens: int


class ResponseUsage(TypedDict):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class ResponseObject(TypedDict):
    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: ResponseStatus
    background: bool
    model: str
    output: list[Item]
    error: ResponseProblem | None
    incomplete_details: Incomplete | None
    instructions: None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    temperature: float | None
    top_p: float | None
    tool_choice: Any
    tools: list[Item]
    max_output_tokens: int | None
    previous_response_id: None
    reasoning: dict[str, Any] | None
    service_tier: str
    text: dict[str, Any]
    truncation: str
    usage: ResponseUsage | None
    user: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None
    fleet: FleetDetails | None


def response_of(record: ResponseRecord, result: Result | None, status: ResponseStatus = "queued") -> ResponseObject:
    """Return the response: its state without a result, or how it ended."""
    asked = record.asked
    answer = None if result is None else result.answer
    return {
        "id": record.id,
        "object": "response",
        "created_at": int(record.created_at),
        "completed_at": None if result is None or answer is None else int(result.finished_at),
        "status": status if result is None else status_of(result),
        "background": record.background,
        "model": record.model if result is None or result.target is None else result.target,
        "output": [] if answer is None else items_of(record, answer),
        "error": None if result is None or answer is not None else _problem(result),
        "incomplete_details": None if answer is None else _incomplete(answer),
        "instructions": None,
        "metadata": asked.get("metadata", {}),
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "temperature": asked.get("temperature"),
        "top_p": asked.get("top_p"),
        "tool_choice": asked.get("tool_choice", "auto"),
        "tools": [],
        "max_output_tokens": asked.get("max_output_tokens"),
        "previous_response_id": None,
        "reasoning": asked.get("reasoning"),
        "service_tier": asked.get("service_tier", "default"),
        "text": asked.get("text", {"format": {"type": "text"}}),
        "truncation": asked.get("truncation", "disabled"),
        "usage": None if answer is None else usage_of(answer.usage),
        "user": asked.get("user"),
        "safety_identifier": asked.get("safety_identifier"),
        "prompt_cache_key": asked.get("prompt_cache_key"),
        "fleet": None if result is None else details_of(result),
    }


def status_of(result: Result) -> ResponseStatus:
    if result.answer is not None:
        return "incomplete" if result.answer.finish_reason in _INCOMPLETE else "completed"
    return "cancelled" if result.status is Status.CANCELLED else "failed"


def usage_of(usage: Usage) -> ResponseUsage:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def items_of(record: ResponseRecord, answer: Answer) -> list[Item]:
    """Return the output: a message if anything was said, and the calls of functions."""
    parts = [_text_part(answer.text)] if answer.text else []
    if refusal := answer.message.get("refusal"):
        parts.append({"type": "refusal", "refusal": refusal})
    calls = answer.message.get("tool_calls") or ()
    items: list[Item] = []
    if parts or not calls:
        status = "incomplete" if answer.finish_reason in _INCOMPLETE else "completed"
        said = parts or [_text_part("")]
        items.append(
            {"id": f"msg_{record.job_id}", "type": "message", "role": "assistant", "status": status, "content": said}
        )
    return [*items, *(_call_item(record, number, call) for number, call in enumerate(calls))]


def _text_part(text: str) -> Item:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call_item(record: ResponseRecord, number: int, call: Mapping[str, Any]) -> Item:
    function = call["function"]
    return {
        "id": f"fc_{record.job_id}_{number}",
        "type": "function_call",
        "status": "completed",
        "call_id": call["id"],
        "name": function["name"],
        "arguments": function["arguments"],
    }


def _problem(result: Result) -> ResponseProblem | None:
    if result.status is Status.CANCELLED:
        return None
    code = "rate_limit_exceeded" if result.reason in (Reason.OVER_QUOTA, Reason.OUT_OF_MONEY) else "server_error"
    if result.status is Status.REJECTED and code == "server_error":
        code = "invalid_prompt"
    return {"code": code, "message": MEANINGS[result.reason] if result.problem is None else result.problem.message}


def _incomplete(answer: Answer) -> Incomplete | None:
    reason = _INCOMPLETE.get(answer.finish_reason)
    return None if reason is None else {"reason": reason}


def events_of(record: ResponseRecord, result: Result | None) -> list[Event]:
    """Return the events so far, each with its `sequence_number`: those before an answer, or all of them.

    The numbers are the same whenever they are asked for, so a stream goes on behind any of them.
    """
    found = [{"type": f"response.{name}", "response": response_of(record, None)} for name in ("created", "queued")]
    if result is not None:
        found += _events_with(record, result)
    return [{**event, "sequence_number": number} for number, event in enumerate(found)]


def _events_with(record: ResponseRecord, result: Result) -> Iterator[Event]:
    yield {"type": "response.in_progress", "response": response_of(record, None, "in_progress")}
    ended = response_of(record, result)
    for index, item in enumerate(ended["output"]):
        yield from _events_of_item(index, item)
    name = "failed" if ended["status"] == "cancelled" else ended["status"]
    yield {"type": f"response.{name}", "response": ended}


def _events_of_item(index: int, item: Item) -> Iterator[Event]:
    about = {"output_index": index, "item_id": item["id"]}
    begun = {**item, "status": "in_progress"}
    if item["type"] == "message":
        yield {"type": "response.output_item.added", "output_index": index, "item": {**begun, "content": []}}
        for number, part in enumerate(item["content"]):
            yield from _events_of_part({**about, "content_index": number}, part)
    else:
        yield {"type": "response.output_item.added", "output_index": index, "item": {**begun, "arguments": ""}}
        kind, arguments = "response.function_call_arguments", item["arguments"]
        yield {"type": f"{kind}.delta", **about, "delta": arguments}
        yield {"type": f"{kind}.done", **about, "name": item["name"], "arguments": arguments}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _events_of_part(about: Event, part: Item) -> Iterator[Event]:
    """Yield a part as one delta: it is there as a whole."""
    field = "refusal" if part["type"] == "refusal" else "text"
    kind = "response.refusal" if field == "refusal" else "response.output_text"
    more: Event = {} if field == "refusal" else {"logprobs": []}
    yield {"type": "response.content_part.added", **about, "part": {**part, field: ""}}
    yield {"type": f"{kind}.delta", **about, "delta": part[field], **more}
    yield {"type": f"{kind}.done", **about, field: part[field], **more}
    yield {"type": "response.content_part.done", **about, "part": part}
