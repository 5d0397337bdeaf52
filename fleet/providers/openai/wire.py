"""The OpenAI chat format as read by OpenAI, Groq and the many servers that copy it.

The job's request goes out tidied (`fleet.model.chat`), except for these fields:

    field                          openai                     groq        other servers
    model                          the target's               the target's  the target's
    stream, stream_options, n,
    modalities                     left out: an attempt is one whole answer, in text
    logprobs, top_logprobs         ours, where the target is known to give them; else left out
    max_tokens                     as max_completion_tokens   unchanged   unchanged
    service_tier, store, metadata  only on a tenant's key     left out    only on a tenant's key
    reasoning_effort               where the target reasons, in words it takes
    verbosity                      where the target reasons   left out    unchanged
    logit_bias                     unchanged                  refused     unchanged
    messages[].name                if OpenAI accepts it       left out    unchanged
    prompt_cache_key, ..._options  the job's, else ours       left out    unchanged
                                   (see `marked`)

A service tier changes the price, and what is stored lies in the account of the key's owner: on the fleet's key both
are left out. Groq answers 400 to what it does not support and has service tiers of its own. OpenAI and Groq demand the
word JSON in a request for a JSON object, and an answer to every tool call.

Models that reason without sampling, as OpenAI's do (`Reasoning.sampling`), refuse `max_tokens`, `stop`, penalties and
`logit_bias`, and while they think also `temperature`, `top_p` and log-probabilities. The limit is sent as
`max_completion_tokens`, an answer is cut here where it should have stopped, and hints are left out. A bias is no hint:
it may forbid a token, so the request is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fleet.model.attempt import Outcome
from fleet.model.chat import tidy
from fleet.model.errors import InvalidJob
from fleet.model.job import ChatRequest
from fleet.model.target import Capability, Effort, Target
from fleet.providers import history
from fleet.providers.finish import cut_at
from fleet.providers.openai.reply import decode
from policies.caching.prompt import Mark, MarkReason
from policies.reasoning import effort_for, thinks

NEVER = frozenset({"model", "stream", "stream_options", "n", "logprobs", "top_logprobs", "modalities"})
OWN_KEY_ONLY = frozenset({"service_tier", "store", "metadata"})
CACHE_HINTS = frozenset({"prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"})
NOT_ON_GROQ = CACHE_HINTS | {"logit_bias", "metadata", "store", "service_tier", "verbosity", "safety_identifier"}
UNSAMPLED = frozenset({"frequency_penalty", "presence_penalty", "logit_bias", "stop"})
"""Parameters that models which reason without sampling refuse at any effort."""

SAMPLING = frozenset({"temperature", "top_p"})
"""Parameters that these models refuse while they think."""

EFFORTS_ON_GROQ = (Effort.LOW, Effort.MEDIUM, Effort.HIGH)

CANDIDATES = 5
"""Log-probabilities to ask for per token; vLLM is asked for as many, so that features compare."""

_OPENAI_NAME = re.compile(r"[^\s<|\\/>]{1,64}")


class OpenAIWire:
    """The OpenAI chat format as read by the provider of `target`."""

    def __init__(self, target: Target, is_groq: bool = False) -> None:
        self._target = target
        self._reasons = Capability.REASONING in target.capabilities
        self._is_openai, self._is_groq = target.provider == "openai", is_groq or target.provider == "groq"
        self._gives_logprobs = Capability.LOGPROBS in target.capabilities and not self._is_groq
        sampling = None if target.reasoning is None else target.reasoning.sampling
        self._unsampled = self._reasons and not (not self._is_openai if sampling is None else sampling)
        self._drop = NEVER | self._not_here()

    def beginning(self, body: dict[str, Any]) -> bytes:
        """Return tools, schema and the first instructions, for OpenAI alone: other servers need not know the words."""
        if not self._is_openai:
            return b""
        parts = [body.get("tools"), body.get("response_format"), body["messages"][: _instructions(body["messages"])]]
        return json.dumps(parts).encode()

    def marked(self, body: dict[str, Any], mark: Mark, key: str) -> dict[str, Any]:
        """Return the body with `prompt_cache_key`, unless the job has one, and a breakpoint after the instructions.

        A model whose writes cost something writes every prompt to its end unless it is told that breakpoints are all:
        without one it then writes nothing. A conversation is left to it, for its next turn reads all of this one.
        """
        body = {"prompt_cache_key": key, **body}
        place = _instructions(body["messages"]) - 1
        is_conversation = any(message["role"] == "assistant" for message in body["messages"])
        if mark.reason is MarkReason.NO_PRICE or place < 0 or "prompt_cache_options" in body:
            return body
        if not is_conversation:
            body["prompt_cache_options"] = {"mode": "explicit"}
        if mark.life is None:
            return body
        messages = list(body["messages"])
        messages[place] = _with_breakpoint(messages[place])
        return {**body, "messages": messages}

    def _not_here(self) -> frozenset[str]:
        dropped = NOT_ON_GROQ if self._is_groq else frozenset[str]()
        if self._unsampled:
            dropped |= UNSAMPLED
        if not self._reasons:
            dropped |= {"reasoning_effort", "verbosity"} if self._is_openai else {"reasoning_effort"}
        return dropped

    def encode(self, request: ChatRequest, own_key: bool = False) -> dict[str, Any]:
        try:
            return self._translate(tidy(request), own_key)
        except (KeyError, TypeError, AttributeError):  # a part without what its type demands
            raise InvalidJob("request", "is no complete chat completion request") from None

    def _translate(self, request: ChatRequest, own_key: bool) -> dict[str, Any]:
        samples = not (self._unsampled and thinks(request, self._target))
        drop = self._drop if own_key else self._drop | OWN_KEY_ONLY
        if not samples:
            drop |= SAMPLING
        if request.get("logit_bias") and "logit_bias" in drop:
            raise InvalidJob("request.logit_bias", "has no counterpart at this model")
        body = {name: value for name, value in request.items() if name not in drop}
        body["model"] = self._target.model
        if self._target.service_tier is not None:  # what the target's prices are for
            body.setdefault("service_tier", self._target.service_tier)
        history.require_own_files(body["messages"], own_key)
        self._heed_the_model(body)
        if self._is_openai or self._is_groq:
            self._heed_the_vendor(body)
        return body | {"logprobs": True, "top_logprobs": CANDIDATES} if self._gives_logprobs and samples else body

    def _heed_the_model(self, body: dict[str, Any]) -> None:
        """Say the limit and the effort in the model's words."""
        if (self._is_openai or self._unsampled) and "max_tokens" in body:
            limit = body.pop("max_tokens")
            body.setdefault("max_completion_tokens", limit)
        effort = effort_for(body, self._target, EFFORTS_ON_GROQ if self._is_groq else ())
        if effort is not None:
            body["reasoning_effort"] = effort.value

    def _heed_the_vendor(self, body: dict[str, Any]) -> None:
        """Translate what OpenAI and Groq answer 400 to, or refuse it with the field's name."""
        messages = body["messages"]
        self._require_parts(messages)
        history.require_tools(body)
        history.require_answered_calls(messages)
        if (body.get("response_format") or {}).get("type") == "json_object" and not history.speaks_of_json(messages):
            messages = [{"role": "system", "content": history.JSON_ONLY}, *messages]
        body["messages"] = [self._message(message) for message in messages]
        if self._is_openai:
            _heed_openai(body)

    def _require_parts(self, messages: history.Messages) -> None:
        taken = {"text", "image_url", "file", "input_audio"} if self._is_openai else {"text", "image_url"}
        for path, part in history.parts_of(messages):
            if part["type"] not in taken:
                raise InvalidJob(f"{path}.type", f"has no counterpart at {self._target.provider}")

    def _message(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        name = message.get("name")
        if name is not None and (self._is_groq or not _OPENAI_NAME.fullmatch(name)):
            message = {field: value for field, value in message.items() if field != "name"}
        if calls := message.get("tool_calls"):
            return {**message, "tool_calls": [_call(call) for call in calls]}
        return message

    def decode(self, body: bytes, request: ChatRequest | None = None) -> Outcome:
        """Return the answer to `request`, cut at the stop sequences that the provider could not be given."""
        stop = (request or {}).get("stop") if "stop" in self._drop else None
        return cut_at(decode(body, self._target.provider), (stop,) if isinstance(stop, str) else tuple(stop or ()))


def _instructions(messages: history.Messages) -> int:
    """Return how many system and developer messages the chat begins with."""
    others = (place for place, message in enumerate(messages) if message["role"] not in ("system", "developer"))
    return next(others, len(messages))


def _with_breakpoint(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return instructions whose end is a breakpoint; a model reads the same of one text and of a list of it."""
    content = message["content"]
    *others, last = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not last["text"].strip():
        return message
    return {**message, "content": [*others, {**last, "prompt_cache_breakpoint": {"mode": "explicit"}}]}


def _heed_openai(body: dict[str, Any]) -> None:
    if "tools" in body:
        body["tools"] = [_tool(tool, f"request.tools.{index}") for index, tool in enumerate(body["tools"])]
    if (body.get("response_format") or {}).get("type") == "json_schema":
        body["response_format"] = _format(body["response_format"])
    if not body.get("store"):
        body.pop("metadata", None)  # OpenAI takes it only with what is stored


def _tool(tool: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    parameters = tool["function"].get("parameters")
    if parameters is None:
        return tool
    return {**tool, "function": {**tool["function"], "parameters": history.tool_schema(parameters, path)}}


def _format(wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    described = wanted["json_schema"]
    if described.get("schema", {}).get("type", "object") != "object":
        raise InvalidJob("request.response_format.json_schema.schema.type", "must be object at openai")
    return {**wanted, "json_schema": {**described, "name": history.called_name(described["name"])}}


def _call(call: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**call, "function": {**call["function"], "name": history.called_name(call["function"]["name"])}}
