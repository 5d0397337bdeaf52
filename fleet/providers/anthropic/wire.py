"""Translates the OpenAI chat format to Anthropic's Messages API and back.

OpenAI                                   Anthropic
system and developer messages            `system`, joined by blank lines, wherever they stood
max_completion_tokens, max_tokens        max_tokens, required: `DEFAULT_MAX_TOKENS` where the job sets none
stop                                     stop_sequences; a blank one, which the API refuses, is cut at here
tools, tool_choice, parallel_tool_calls  tools, tool_choice, disable_parallel_tool_use; no model calls a tool by force
                                         while it thinks: effort none if it takes that, else refused
reasoning_effort                         output_config.effort, for none `thinking` disabled; where the target reasons
messages                                 turns: see `fleet.providers.anthropic.turns`
image_url (data: and https:), file data  image and document blocks, base64 or url
response_format json_schema              output_config.format: see `fleet.providers.anthropic.schema`
response_format json_object              a sentence in `system`: there is no schema to enforce
(none)                                   cache_control, where it pays: see `marked`
audio parts, files by id, logit_bias     refused: `InvalidJob`
everything else                          left out. The API has no sampling parameters (temperature, top_p, seed,
                                         penalties), no log-probabilities and one answer per request
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fleet.model.attempt import Outcome
from fleet.model.chat import tidy
from fleet.model.errors import InvalidJob
from fleet.model.job import ChatRequest
from fleet.model.target import Effort, Target
from fleet.providers import history
from fleet.providers.anthropic import reply as anthropic_reply
from fleet.providers.anthropic.schema import schema_at
from fleet.providers.anthropic.turns import Block, turns_of
from fleet.providers.finish import cut_at
from fleet.providers.history import JSON_ONLY, tool_schema
from policies.caching.prompt import Life, Mark
from policies.reasoning import effort_for, room_for, thinks

DEFAULT_MAX_TOKENS = 4096
"""Room for a long answer, within every current model's limit; it bounds the price of a job that set no limit."""


def _markable(body: Block) -> bool:
    return bool(body.get("system") or body.get("tools"))


USUAL_EFFORTS = (Effort.LOW, Effort.MEDIUM, Effort.HIGH)


class AnthropicWire:
    """Anthropic's Messages API for `target`."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def encode(self, request: ChatRequest, own_key: bool = False) -> dict[str, Any]:
        try:
            return self._translate(tidy(request))
        except (KeyError, TypeError, AttributeError):  # a part without what its type demands
            raise InvalidJob("request", "is no complete chat completion request") from None

    def decode(self, body: bytes, request: ChatRequest | None = None) -> Outcome:
        return cut_at(anthropic_reply.decode(body), tuple(stop for stop in _stops(request or {}) if not stop.strip()))

    def beginning(self, body: Block) -> bytes:
        # A schema for the answer is put before all of it by the API, and another one makes another beginning.
        output = body.get("output_config", {}).get("format")
        return json.dumps([output, body.get("tools"), body.get("system")]).encode() if _markable(body) else b""

    def marked(self, body: Block, mark: Mark, key: str) -> Block:
        """Return the body with `cache_control` on its system prompt, which comes after the tools, else on the last one.

        A model reads the same of a system prompt that is one text and of one that is a list of it.
        """
        if mark.life is None:
            return body
        ttl = {} if mark.life is Life.MINUTES else {"ttl": str(mark.life)}
        control = {"cache_control": {"type": "ephemeral", **ttl}}
        if system := body.get("system"):
            return {**body, "system": [{"type": "text", "text": system, **control}]}
        *others, last = body["tools"]
        return {**body, "tools": [*others, {**last, **control}]}

    def _translate(self, request: ChatRequest) -> dict[str, Any]:
        limit = request.get("max_completion_tokens") or request.get("max_tokens")
        if request.get("logit_bias"):
            raise InvalidJob("request.logit_bias", "has no counterpart at anthropic")
        history.require_tools(request)
        system, turns = turns_of(request["messages"], _system(request))
        effort = self._effort(request)
        body: dict[str, Any] = {
            "model": self._target.model,
            "max_tokens": limit or DEFAULT_MAX_TOKENS + room_for(request, self._target),
            "system": system,
            "messages": turns,
            "stop_sequences": [stop for stop in _stops(request) if stop.strip()],
            "output_config": _output_config(request.get("response_format"), effort),
            "thinking": {"type": "disabled"} if effort is Effort.NONE else None,
            **_tools(request, turns),
        }
        return {name: value for name, value in body.items() if value}

    def _effort(self, request: ChatRequest) -> Effort | None:
        """Return the effort to ask for.

        Raises: InvalidJob if the request forces a call of a tool, and the model thinks about every request.
        """
        effort = effort_for(request, self._target, USUAL_EFFORTS)
        if request.get("tool_choice") in (None, "auto", "none") or not thinks(request, self._target):
            return effort
        if self._target.reasoning is None or Effort.NONE not in self._target.reasoning.efforts:
            raise InvalidJob("request.tool_choice", "must be auto or none at a model that always thinks")
        return Effort.NONE


def _stops(request: ChatRequest) -> Sequence[str]:
    stop = request.get("stop")
    return [stop] if isinstance(stop, str) else stop or ()


def _system(request: ChatRequest) -> str:
    texts = [_text(message) for message in request["messages"] if message["role"] in ("system", "developer")]
    wanted = request.get("response_format") or {}
    if wanted.get("type") == "json_object" or (wanted.get("type") == "json_schema" and not _schema(wanted)):
        texts.append(JSON_ONLY)
    return "\n\n".join(text for text in texts if text.strip())


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def _schema(response_format: Mapping[str, Any]) -> Any:
    return response_format["json_schema"].get("schema")


def _output_config(response_format: Mapping[str, Any] | None, effort: Effort | None) -> Block:
    config: Block = {} if effort in (None, Effort.NONE) else {"effort": effort.value}
    if response_format is not None and response_format["type"] == "json_schema" and _schema(response_format):
        schema = schema_at("request.response_format.json_schema.schema", _schema(response_format))
        config["format"] = {"type": "json_schema", "schema": schema}
    return config


def _tools(request: ChatRequest, turns: list[Block]) -> Block:
    """Return the tools and the choice among them; the API requires tools if the history has calls of tools."""
    if tools := request.get("tools"):
        history.require_distinct(tools)
        declared = [_tool(tool, f"request.tools.{index}") for index, tool in enumerate(tools)]
        return {"tools": declared, "tool_choice": _tool_choice(request)}
    blocks = [block for turn in turns for block in turn["content"] if block["type"] == "tool_use"]
    called = dict.fromkeys(block["name"] for block in blocks)
    if not called:
        return {}
    return {
        "tools": [{"name": name, "input_schema": tool_schema(None, "request.messages")} for name in called],
        "tool_choice": NO_TOOL,
    }


_PROPERTY = re.compile(r"[A-Za-z0-9_.-]{1,64}")

NO_TOOL: Block = {"type": "none"}


def _tool(tool: Mapping[str, Any], path: str) -> Block:
    function = tool["function"]
    declared = {"name": function["name"], "input_schema": tool_schema(function.get("parameters"), path)}
    for name in declared["input_schema"]["properties"]:
        if not _PROPERTY.fullmatch(name):
            raise InvalidJob(f"{path}.function.parameters.properties", f"must match {_PROPERTY.pattern} at anthropic")
    if function.get("description"):
        declared["description"] = function["description"]
    if function.get("strict"):
        declared["input_schema"] = schema_at(f"{path}.function.parameters", declared["input_schema"])
        declared["strict"] = True
    return declared


def _tool_choice(request: ChatRequest) -> Block | None:
    one_at_a_time = {"disable_parallel_tool_use": True} if request.get("parallel_tool_calls") is False else {}
    match request.get("tool_choice"):
        case "none":
            return NO_TOOL
        case "required":
            return {"type": "any", **one_at_a_time}
        case {"type": "function", "function": {"name": name}}:
            return {"type": "tool", "name": name, **one_at_a_time}
        case None | "auto":
            return {"type": "auto", **one_at_a_time} if one_at_a_time else None
        case _:
            raise InvalidJob("request.tool_choice", "has no counterpart at anthropic")
