"""The OpenAI chat format, as OpenAI, Groq and the many servers that copy it read it.

The job's request goes out as it came, except for these fields:

    field                          openai                     groq       other servers
    model                          the target's               the target's  the target's
    stream, stream_options, n      left out: an attempt is one whole answer
    logprobs, top_logprobs         ours, where the target is known to give them; else left out
    max_tokens                     as max_completion_tokens   unchanged  unchanged
    logit_bias, metadata, store    unchanged                  left out   unchanged
    service_tier                   unchanged                  left out   unchanged
    messages[].name                unchanged                  left out   unchanged

OpenAI deprecated `max_tokens` and its reasoning models refuse it. Groq answers 400 to what it does not support and
has service tiers of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from fleet.model.attempt import Answer, Failure, FailureKind, Features, Outcome, Usage
from fleet.model.job import ChatRequest
from fleet.model.target import Capability, Target
from policies.features import aggregate

NEVER = frozenset({"model", "stream", "stream_options", "n", "logprobs", "top_logprobs"})
NOT_ON_GROQ = frozenset({"logit_bias", "metadata", "store", "service_tier"})
CANDIDATES = 5
"""Log-probabilities asked for per token: what vLLM is asked for too, so that features compare."""


class _Candidate(BaseModel):
    logprob: float


class _Token(_Candidate):
    top_logprobs: list[_Candidate] = []


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Message(BaseModel):
    model_config = ConfigDict(extra="allow")
    role: Literal["assistant"] = "assistant"
    content: str | None = None


class _Choice(BaseModel):
    finish_reason: str
    message: _Message
    logprobs: _Logprobs | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    model: str
    choices: tuple[_Choice, ...]
    usage: _Usage | None = None


class OpenAIWire:
    """The OpenAI chat format as `target`'s provider reads it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._drop = NEVER | NOT_ON_GROQ if target.provider == "groq" else NEVER

    def encode(self, request: ChatRequest) -> dict[str, Any]:
        body = {name: value for name, value in request.items() if name not in self._drop}
        body["model"] = self._target.model
        if self._target.provider == "openai" and "max_tokens" in body:
            body.setdefault("max_completion_tokens", body.pop("max_tokens"))
        if self._target.provider == "groq":
            body["messages"] = [_unnamed(message) for message in body["messages"]]
        elif Capability.LOGPROBS in self._target.capabilities:
            body |= {"logprobs": True, "top_logprobs": CANDIDATES}
        return body

    def decode(self, body: bytes) -> Outcome:
        completion = _Completion.model_validate_json(body)
        if not completion.choices:
            return Failure(FailureKind.MALFORMED, f"{self._target.provider} sent a reply without choices")
        choice = completion.choices[0]
        if choice.finish_reason == "content_filter":
            return Failure(FailureKind.CONTENT_FILTER, f"{self._target.provider} withheld the answer")
        usage = completion.usage or _Usage()
        return Answer(
            message=choice.message.model_dump(),
            finish_reason=choice.finish_reason,
            usage=Usage(usage.prompt_tokens, usage.completion_tokens),
            model=completion.model,
            features=_features(choice.logprobs),
        )


def _unnamed(message: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name != "name"}


def _features(logprobs: _Logprobs | None) -> Features | None:
    if logprobs is None or not logprobs.content:
        return None
    return aggregate(
        [token.logprob for token in logprobs.content],
        [[candidate.logprob for candidate in token.top_logprobs] for token in logprobs.content],
    )
