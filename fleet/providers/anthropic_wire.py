"""The OpenAI chat format translated to Anthropic's Messages API and back.

OpenAI                                   Anthropic
system and developer messages            `system`, joined by blank lines, wherever they stood
max_completion_tokens, max_tokens        max_tokens, required: `DEFAULT_MAX_TOKENS` where the job sets none
stop                                     stop_sequences
tools, tool_choice, parallel_tool_calls  tools, tool_choice, disable_parallel_tool_use
tool_calls, tool messages                tool_use and tool_result blocks
image_url (data: and https:)             image block, base64 or url
response_format json_schema              output_config.format, the schema as the SDK's transform_schema writes it
response_format json_object              a sentence in `system`: there is no schema to enforce
audio and file parts, function messages  refused: `InvalidJob`
everything else                          left out. The API has no sampling parameters (temperature, top_p, seed,
                                         penalties), no log-probabilities and one answer per request
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from anthropic import transform_schema

from fleet.model.errors import InvalidJob
from fleet.model.job import ChatRequest
from fleet.model.target import Target
from fleet.providers.anthropic_reply import decode

DEFAULT_MAX_TOKENS = 4096
"""Room for a long answer, within every current model's limit; it bounds the price of a job that set no limit."""

JSON_ONLY = "Answer with one JSON object and nothing else: no prose around it, no code fence."

Block = dict[str, Any]


class AnthropicWire:
    """Anthropic's Messages API, for `target`."""

    decode = staticmethod(decode)

    def __init__(self, target: Target) -> None:
        self._target = target

    def encode(self, request: ChatRequest) -> dict[str, Any]:
        try:
            return self._translate(request)
        except (KeyError, TypeError, AttributeError):  # a part without what its type demands
            raise InvalidJob("request", "is no complete chat completion request") from None

    def _translate(self, request: ChatRequest) -> dict[str, Any]:
        limit = request.get("max_completion_tokens") or request.get("max_tokens") or DEFAULT_MAX_TOKENS
        stop = request.get("stop")
        body: dict[str, Any] = {
            "model": self._target.model,
            "max_tokens": limit,
            "system": _system(request),
            "messages": _turns(request["messages"]),
            "stop_sequences": [stop] if isinstance(stop, str) else stop,
            "output_config": _output_config(request.get("response_format")),
            "tools": [_tool(tool) for tool in request.get("tools") or ()],
            "tool_choice": _tool_choice(request) if request.get("tools") else None,
        }
        return {name: value for name, value in body.items() if value}


def _system(request: ChatRequest) -> str:
    texts = [_text(message) for message in request["messages"] if message["role"] in ("system", "developer")]
    if (request.get("response_format") or {}).get("type") == "json_object":
        texts.append(JSON_ONLY)
    return "\n\n".join(text for text in texts if text)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def _turns(messages: Sequence[Mapping[str, Any]]) -> list[Block]:
    """One turn per message; the API joins neighbours of the same role."""
    turns = []
    for index, message in enumerate(messages):
        match message["role"]:
            case "system" | "developer":
                continue
            case "user":
                turns.append({"role": "user", "content": _content(message, index)})
            case "assistant":
                turns.append({"role": "assistant", "content": _content(message, index) + _tool_uses(message, index)})
            case "tool":
                result = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": _text(message)}
                turns.append({"role": "user", "content": [result]})
            case _:
                raise InvalidJob(f"request.messages.{index}.role", "has no counterpart at anthropic")
    return turns


def _content(message: Mapping[str, Any], index: int) -> list[Block]:
    """The blocks of a message; empty texts are left out, because the API refuses them."""
    content = message.get("content") or []
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    blocks = [_block(part, f"request.messages.{index}.content.{position}") for position, part in enumerate(parts)]
    return [block for block in blocks if block.get("text") != ""]


def _block(part: Mapping[str, Any], path: str) -> Block:
    match part["type"]:
        case "text":
            return {"type": "text", "text": part["text"]}
        case "refusal":
            return {"type": "text", "text": part["refusal"]}
        case "image_url":
            return {"type": "image", "source": _image_source(part["image_url"]["url"], path)}
        case _:
            raise InvalidJob(f"{path}.type", "has no counterpart at anthropic")


def _image_source(url: str, path: str) -> Block:
    if url.startswith("https://"):
        return {"type": "url", "url": url}
    kind, comma, data = url.removeprefix("data:").partition(",")
    if not url.startswith("data:") or not comma or not kind.endswith(";base64"):
        raise InvalidJob(f"{path}.image_url.url", "must be an https or a base64 data URL")
    return {"type": "base64", "media_type": kind.split(";")[0], "data": data}


def _tool_uses(message: Mapping[str, Any], index: int) -> list[Block]:
    return [
        {
            "type": "tool_use",
            "id": call["id"],
            "name": call["function"]["name"],
            "input": _arguments(call, f"request.messages.{index}.tool_calls.{position}"),
        }
        for position, call in enumerate(message.get("tool_calls") or ())
    ]


def _arguments(call: Mapping[str, Any], path: str) -> Any:
    try:
        return json.loads(call["function"]["arguments"] or "{}")
    except ValueError:
        raise InvalidJob(f"{path}.function.arguments", "must be JSON") from None


def _output_config(response_format: Mapping[str, Any] | None) -> Block | None:
    if response_format is None or response_format["type"] != "json_schema":
        return None
    try:
        schema = transform_schema(response_format["json_schema"]["schema"])
    except Exception:  # the SDK asserts on what it cannot express, with errors of several kinds
        raise InvalidJob("request.response_format.json_schema.schema", "cannot be expressed at anthropic") from None
    return {"format": {"type": "json_schema", "schema": schema}}


def _tool(tool: Mapping[str, Any]) -> Block:
    function = tool["function"]
    described = {name: function[name] for name in ("description", "strict") if function.get(name)}
    return {
        "name": function["name"],
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
        **described,
    }


def _tool_choice(request: ChatRequest) -> Block | None:
    one_at_a_time = {"disable_parallel_tool_use": True} if request.get("parallel_tool_calls") is False else {}
    match request.get("tool_choice"):
        case "none":
            return {"type": "none"}
        case "required":
            return {"type": "any", **one_at_a_time}
        case {"type": "function", "function": {"name": name}}:
            return {"type": "tool", "name": name, **one_at_a_time}
        case None | "auto":
            return {"type": "auto", **one_at_a_time} if one_at_a_time else None
        case _:
            raise InvalidJob("request.tool_choice", "has no counterpart at anthropic")
