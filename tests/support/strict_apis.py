"""Checks each provider's refusals, as strictly as its documentation and its error messages say."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

OPENAI_FIELDS = {
    "messages", "model", "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "metadata",
    "parallel_tool_calls", "presence_penalty", "prompt_cache_key", "reasoning_effort", "response_format",
    "safety_identifier", "seed", "service_tier", "stop", "store", "temperature", "tool_choice", "tools",
    "top_logprobs", "top_p", "user", "verbosity",
}  # fmt: skip
GROQ_FIELDS = {
    "messages", "model", "frequency_penalty", "max_completion_tokens", "max_tokens", "parallel_tool_calls",
    "presence_penalty", "reasoning_effort", "response_format", "seed", "stop", "temperature", "tool_choice", "tools",
    "top_p", "user",
}  # fmt: skip
ANTHROPIC_FIELDS = {
    "model", "max_tokens", "messages", "system", "stop_sequences", "output_config", "thinking", "tools", "tool_choice",
}  # fmt: skip
REASONING_REFUSES = {"frequency_penalty", "presence_penalty", "logit_bias", "stop", "max_tokens"}
THINKING_REFUSES = {"temperature", "top_p", "logprobs", "top_logprobs"}
EFFORTS = {"none", "minimal", "low", "medium", "high", "xhigh", "max"}
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
ROLE_FIELDS = {
    "system": {"role", "content", "name"},
    "developer": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "tool_calls"},
    "tool": {"role", "content", "tool_call_id"},
}


def _no_null(value: Any, inside: str = "") -> None:
    if isinstance(value, dict):
        for name, each in value.items():
            assert each is not None, f"{inside}.{name} is null"
            if name not in ("parameters", "schema", "input_schema", "input"):
                _no_null(each, f"{inside}.{name}")
    elif isinstance(value, list):
        for each in value:
            _no_null(each, inside)


def check_openai(body: dict[str, Any], reasons: bool = False) -> None:
    assert body.keys() <= OPENAI_FIELDS, body.keys() - OPENAI_FIELDS
    assert "metadata" not in body or body.get("store")
    if reasons:
        assert not body.keys() & REASONING_REFUSES
        assert body.get("reasoning_effort") == "none" or not body.keys() & THINKING_REFUSES
        assert body.get("reasoning_effort", "none") in EFFORTS
    else:
        assert not body.keys() & {"reasoning_effort", "verbosity"}
    _check_chat(body)


def check_groq(body: dict[str, Any]) -> None:
    assert body.keys() <= GROQ_FIELDS, body.keys() - GROQ_FIELDS
    assert body.get("reasoning_effort") in (None, "low", "medium", "high")
    assert not any("name" in message for message in body["messages"])
    assert {part["type"] for message in body["messages"] for part in _parts(message)} <= {"text", "image_url"}
    _check_chat(body)


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _check_chat(body: dict[str, Any]) -> None:
    _no_null(body)
    names = [tool["function"]["name"] for tool in body.get("tools", ["absent"]) if tool != "absent"]
    assert "tools" not in body or names
    assert all(NAME.fullmatch(name) for name in names)
    assert names or not body.keys() & {"tool_choice", "parallel_tool_calls"}
    if isinstance(chosen := body.get("tool_choice"), dict):
        assert chosen["function"]["name"] in names
    waiting: set[str] = set()
    for message in body["messages"]:
        assert message.keys() <= ROLE_FIELDS[message["role"]]
        assert "content" in message or message.get("tool_calls")
        assert message.get("content") != []
        assert re.fullmatch(r"[^\s<|\\/>]{1,64}", message.get("name", "x"))
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
            continue
        assert not waiting
        waiting = {call["id"] for call in message.get("tool_calls", ())}
        assert all(NAME.fullmatch(call["function"]["name"]) for call in message.get("tool_calls", ()))
        assert message.get("tool_calls") != []
    assert not waiting
    if body.get("response_format", {}).get("type") == "json_object":
        assert "json" in json.dumps([message.get("content") for message in body["messages"]]).lower()


def check_anthropic(body: dict[str, Any], thinks: bool = False, always: bool = False) -> None:
    """Check a body for a model that thinks by default, or `always`, as Claude Sonnet 5.5 does."""
    assert body.keys() <= ANTHROPIC_FIELDS, body.keys() - ANTHROPIC_FIELDS
    assert body.get("thinking", {"type": "disabled"}) == {"type": "disabled"}
    assert not (always or not thinks) or "thinking" not in body
    effort = body.get("output_config", {}).get("effort")
    assert effort is None or (thinks and "thinking" not in body and effort in EFFORTS - {"none", "minimal"})
    if thinks and "thinking" not in body:
        assert body.get("tool_choice", {"type": "auto"})["type"] in ("auto", "none")
    _no_null(body)
    assert body["max_tokens"] >= 1
    system = body.get("system", "x")
    assert (system if isinstance(system, str) else system[0]["text"]).strip()
    assert all(stop.strip() for stop in body.get("stop_sequences", ["x"]))
    names = {tool["name"] for tool in body.get("tools", ())}
    assert all(NAME.fullmatch(name) for name in names)
    assert all(tool["input_schema"]["type"] == "object" for tool in body.get("tools", ()))
    choice = body.get("tool_choice", {"type": "auto"})
    assert choice["type"] in ("auto", "any", "tool", "none")
    assert choice.get("name") is None or choice["name"] in names
    if "format" in body.get("output_config", {}):
        check_schema(body["output_config"]["format"]["schema"])
    _check_turns(body["messages"], bool(names))


def _check_turns(turns: list[dict[str, Any]], has_tools: bool) -> None:
    roles = [turn["role"] for turn in turns]
    assert roles[0] == roles[-1] == "user"
    assert all(one != other for one, other in pairwise(roles))
    used: set[str] = set()
    waiting: list[str] = []
    for turn in turns:
        blocks = turn["content"]
        assert blocks
        kinds = [block["type"] for block in blocks]
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        assert kinds[: len(results)] == ["tool_result"] * len(results)
        assert sorted(results) == sorted(waiting)
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
        assert not waiting or has_tools
        assert used.isdisjoint(waiting)
        assert len(set(waiting)) == len(waiting)
        used |= set(waiting)
        for block in blocks:
            _check_block(block)


def _check_block(block: dict[str, Any]) -> None:
    match block["type"]:
        case "text":
            assert block["text"].strip()
        case "tool_use":
            assert re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"])
            assert isinstance(block["input"], dict)
            assert NAME.fullmatch(block["name"])
        case "image" | "document":
            source = block["source"]
            assert source["type"] in ("url", "base64")
            assert source.get("url", "https://").startswith("https://")
        case "tool_result":
            assert block.get("content", "x")
        case other:
            raise AssertionError(f"no block of type {other}")


def check_schema(schema: dict[str, Any]) -> None:
    """Require the subset of JSON Schema that structured outputs accept."""
    assert not isinstance(schema.get("type"), list)
    assert not schema.keys() & {"oneOf", "minimum", "maxLength", "pattern", "not"}
    if schema.get("type") == "object":
        assert schema["additionalProperties"] is False
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ()), *schema.get("$defs", {}).values()]
    for each in [*inner, *([schema["items"]] if "items" in schema else [])]:
        check_schema(each)
