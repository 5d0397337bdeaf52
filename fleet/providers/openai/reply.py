"""Reads a chat completion of any server of the OpenAI format, and mends what such servers write differently."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from fleet.model.attempt import Answer, Failure, FailureKind, Features, Outcome
from fleet.providers.finish import finished
from fleet.providers.usage import openai_usage
from policies.features.logprobs import aggregate


def _text(content: Any) -> Any:
    """Join the text of content that came as parts; parts that are not text are left out."""
    if not isinstance(content, list):
        return content
    said = (part.get("text") if isinstance(part, dict) else part for part in content)
    return "".join(text for text in said if isinstance(text, str))


def _arguments(arguments: Any) -> Any:
    if arguments is None:
        return "{}"
    return json.dumps(arguments) if isinstance(arguments, dict) else arguments


def _readable(logprobs: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """Read the log-probabilities, or return None if their form is unknown: they must not cost the answer."""
    try:
        return read(logprobs)
    except ValidationError:
        return None


class _Candidate(BaseModel):
    logprob: float


class _Token(_Candidate):
    top_logprobs: list[_Candidate] | None = None


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Function(BaseModel):
    name: Annotated[str, Field(min_length=1)]
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
    logprobs: Annotated[_Logprobs | None, WrapValidator(_readable)] = None


class _Completion(BaseModel):
    model: str
    choices: tuple[_Choice, ...]
    usage: Any = None


def decode(body: bytes, provider: str) -> Outcome:
    """Return the answer, or the failure the reply stands for.

    Raises: pydantic.ValidationError if the body is no chat completion.
    """
    completion = _Completion.model_validate_json(body)
    if not completion.choices:
        return Failure(FailureKind.MALFORMED, f"{provider} sent a reply without choices")
    choice = completion.choices[0]
    answer = Answer(
        message=_message(choice.message),
        finish_reason="stop",
        usage=openai_usage(completion.usage),
        model=completion.model,
        features=_features(choice.logprobs),
    )
    return finished(answer, choice.finish_reason, provider)


def _message(message: _Message) -> dict[str, Any]:
    """Return an assistant message that can be sent back as history: it has a content, and its calls have ids."""
    extra = {name: value for name, value in (message.model_extra or {}).items() if value is not None}
    said = {**extra, "role": "assistant", "content": message.content}
    if message.tool_calls:
        ids = unique_ids([call.id for call in message.tool_calls])
        said["tool_calls"] = [_call(call, call_id) for call, call_id in zip(message.tool_calls, ids, strict=True)]
    return said


def _call(call: _Call, call_id: str) -> dict[str, Any]:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    return {"id": call_id, "type": "function", "function": function}


def unique_ids(ids: Sequence[str | None]) -> list[str]:
    """Return an id for every call; a missing or repeated id is made up, because a result must name one call."""
    taken: list[str] = []
    for position, found in enumerate(ids):
        made_up = next(name for extra in count(position) if (name := f"call_{extra}") not in {*ids, *taken})
        taken.append(found if found and found not in taken else made_up)
    return taken


def _features(logprobs: _Logprobs | None) -> Features | None:
    if logprobs is None or not logprobs.content:
        return None
    return aggregate(
        [token.logprob for token in logprobs.content],
        [[candidate.logprob for candidate in token.top_logprobs or ()] for token in logprobs.content],
    )
