"""A result as an OpenAI chat completion: the same at every door, whether over HTTP or in the rows of a batch."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from fleet.model.attempt import Answer, Usage
from fleet.model.result import Result


class PromptDetails(TypedDict):
    cached_tokens: int
    cache_write_tokens: int


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


class FleetDetails(TypedDict):
    """What the fleet says of an answer, beside what OpenAI's objects have room for.

    `model` is what the provider or engine calls the model that answered.
    """

    job_id: str
    status: str
    reason: str
    target: str | None
    model: str | None
    confidence: float | None
    cost_usd: float
    attempts: int


class ChatCompletion(TypedDict):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    service_tier: str
    fleet: FleetDetails


def completion_of(result: Result, answer: Answer, service_tier: str) -> ChatCompletion:
    """Return the answer as a chat completion. It names the target as its model, as requests do."""
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
        "created": int(result.finished_at),
        "model": result.target or answer.model,
        "choices": [{"index": 0, "message": turn, "finish_reason": answer.finish_reason, "logprobs": None}],
        "usage": usage_of(answer.usage),
        "service_tier": service_tier,
        "fleet": details_of(result),
    }


def details_of(result: Result) -> FleetDetails:
    return {
        "job_id": result.job_id,
        "status": result.status.value,
        "reason": result.reason.value,
        "target": result.target,
        "model": None if result.answer is None else result.answer.model,
        "confidence": result.confidence,
        "cost_usd": result.cost_usd,
        "attempts": len(result.attempts),
    }


def usage_of(usage: Usage) -> CompletionUsage:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
