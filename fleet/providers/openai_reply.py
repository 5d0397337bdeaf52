"""A chat completion as the servers of the OpenAI format write it, exact where they differ."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from fleet.model.attempt import Answer, Failure, FailureKind, Features, Outcome
from fleet.providers.finish import finished
from fleet.providers.usage import usage_in
from policies.features import aggregate


def _text(content: Any) -> Any:
    """The text of content that came as parts; a part that is no text says nothing here."""
    if not isinstance(content, list):
        return content
    return "".join(part if isinstance(part, str) else str(part.get("text") or "") for part in content)


def _arguments(arguments: Any) -> Any:
    if arguments is None:
        return "{}"
    return json.dumps(arguments) if isinstance(arguments, dict) else arguments


class _Candidate(BaseModel):
    logprob: float


class _Token(_Candidate):
    top_logprobs: list[_Candidate] | None = None


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Function(BaseModel):
    name: str
    arguments: Annotated[str, BeforeValidator(_arguments)] = "{}"


class _Call(BaseModel):
    id: str | None = None
    function: _Function


class _Message(BaseModel):
    model_config = ConfigDict(extra="allow")
    content: Annotated[str | None, BeforeValidator(_text)] = None
    tool_calls: tuple[_Call, ...] | None = None


class _Choice(BaseModel):
    finish_reason: str | None = None
    message: _Message
    logprobs: _Logprobs | None = None


class _Completion(BaseModel):
    model: str
    choices: tuple[_Choice, ...]
    usage: Any = None


def decode(body: bytes, provider: str) -> Outcome:
    """The answer, or why it is none. Raises `pydantic.ValidationError` for what is no chat completion."""
    completion = _Completion.model_validate_json(body)
    if not completion.choices:
        return Failure(FailureKind.MALFORMED, f"{provider} sent a reply without choices")
    choice = completion.choices[0]
    answer = Answer(
        message=_message(choice.message),
        finish_reason="stop",
        usage=usage_in(completion.usage, ("prompt_tokens",), "completion_tokens"),
        model=completion.model,
        features=_features(choice.logprobs),
    )
    return finished(answer, choice.finish_reason, provider)


def _message(message: _Message) -> dict[str, Any]:
    """An assistant message that can be sent back as history: with a content, and calls that have ids."""
    extra = {name: value for name, value in (message.model_extra or {}).items() if value is not None}
    said = {**extra, "role": "assistant", "content": message.content}
    if message.tool_calls:
        said["tool_calls"] = [_call(call, position) for position, call in enumerate(message.tool_calls)]
    return said


def _call(call: _Call, position: int) -> dict[str, Any]:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    return {"id": call.id or f"call_{position}", "type": "function", "function": function}


def _features(logprobs: _Logprobs | None) -> Features | None:
    if logprobs is None or not logprobs.content:
        return None
    return aggregate(
        [token.logprob for token in logprobs.content],
        [[candidate.logprob for candidate in token.top_logprobs or ()] for token in logprobs.content],
    )
