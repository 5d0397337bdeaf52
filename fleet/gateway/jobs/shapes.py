"""OpenAI's chat completion, whole and in chunks, as made from a result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from fleet.gateway.jobs.results import FleetDetails, details_of
from fleet.model.attempt import Answer, Usage
from fleet.model.result import Result


class PromptDetails(TypedDict):
    cached_tokens: int


class CompletionDetails(TypedDict):
    reasoning_tokens: int


class CompletionUsage(TypedDict):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class CalledFunction(TypedDict):
    name: str
    arguments: str


class ToolCall(TypedDict):
    id: str
    type: Literal["function"]
    function: CalledFunction
    index: NotRequired[int]


class AssistantTurn(TypedDict):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: NotRequired[list[ToolCall]]


class Choice(TypedDict):
    index: int
    message: AssistantTurn
    finish_reason: str
    logprobs: None


class ChatCompletion(TypedDict):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    service_tier: str
    fleet: FleetDetails


def completion_of(result: Result, answer: Answer, created: int, service_tier: str) -> ChatCompletion:
    turn: AssistantTurn = {
        "role": "assistant",
        "content": answer.message.get("content"),
        "refusal": answer.message.get("refusal"),
    }
    if calls := answer.message.get("tool_calls"):
        turn["tool_calls"] = list(calls)
    return {
        "id": f"chatcmpl-{result.job_id}",
        "object": "chat.completion",
        "created": created,
        "model": result.target or answer.model,
        "choices": [{"index": 0, "message": turn, "finish_reason": answer.finish_reason, "logprobs": None}],
        "usage": usage_of(answer.usage),
        "service_tier": service_tier,
        "fleet": details_of(result),
    }


def usage_of(usage: Usage) -> CompletionUsage:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def chunks_of(whole: ChatCompletion, include_usage: bool) -> Iterator[dict[str, Any]]:
    """Yield the chunks of a completion: the whole turn in one, how it ended, and if asked for what it used."""
    [choice] = whole["choices"]
    turn: dict[str, Any] = dict(choice["message"])
    if calls := turn.get("tool_calls"):
        turn["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    about: dict[str, Any] = {
        "id": whole["id"],
        "object": "chat.completion.chunk",
        "created": whole["created"],
        "model": whole["model"],
        "service_tier": whole["service_tier"],
    }
    if include_usage:
        about["usage"] = None
    yield {**about, "choices": [{"index": 0, "delta": turn, "finish_reason": None, "logprobs": None}]}
    ended = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"], "logprobs": None}
    yield {**about, "choices": [ended], "fleet": whole["fleet"]}
    if include_usage:
        yield {**about, "choices": [], "usage": whole["usage"]}
