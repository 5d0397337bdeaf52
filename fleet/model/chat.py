"""The one spelling of a chat request: empty fields are left out, and the history is as every server accepts it.

null fields                        left out: null means absent (not inside schemas, where it is a value)
fields a message's role has none   left out: `name` of a tool message; `reasoning`, `annotations`, ... of an answer
`tool_calls: []`, `tools: []`      left out, and with no tools a `tool_choice` of auto or none
an assistant's `refusal`           its content, where it has no other
an assistant's turn without words  content ""
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleet.model.job import ChatRequest

_SPOKEN = frozenset({"role", "content", "name"})
_FIELDS: Mapping[str, frozenset[str]] = {
    "system": _SPOKEN,
    "developer": _SPOKEN,
    "user": _SPOKEN,
    "assistant": _SPOKEN | {"tool_calls"},
    "tool": frozenset({"role", "content", "tool_call_id"}),
}


def tidy(request: ChatRequest) -> dict[str, Any]:
    """Return the request in that spelling; a tidy one comes out equal. Unknown roles and parts are kept."""
    kept = without_nulls(request)
    if isinstance(messages := kept.get("messages"), list):
        kept["messages"] = [_message(message) for message in messages]
    if "tools" in kept or "tool_choice" in kept or "parallel_tool_calls" in kept:
        _tidy_tools(kept)
    if wanted := kept.get("response_format"):
        kept["response_format"] = _with_tidy(wanted, "json_schema")
    return kept


def without_nulls(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if value is not None}


def _tidy_tools(kept: dict[str, Any]) -> None:
    if kept.get("tools"):
        kept["tools"] = [_with_tidy(tool, "function") for tool in kept["tools"]]
        return
    kept.pop("tools", None)
    kept.pop("parallel_tool_calls", None)
    if kept.get("tool_choice") in ("auto", "none"):
        del kept["tool_choice"]


def _with_tidy(mapping: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the mapping without nulls, and the mapping in its field `name` without nulls too."""
    kept = without_nulls(mapping)
    inner = kept.get(name)
    return {**kept, name: without_nulls(inner)} if isinstance(inner, Mapping) else kept


def _message(message: Mapping[str, Any]) -> Mapping[str, Any]:
    content = message.get("content")
    if isinstance(content, str) and len(message) == 2:  # a role and a text, as most are
        return message
    role = message["role"]
    fields = _FIELDS.get(role)
    kept = {name: value for name, value in message.items() if value is not None and (not fields or name in fields)}
    if isinstance(content, Sequence) and not isinstance(content, str):
        kept["content"] = [_part(part) for part in content]
    if role == "assistant":
        _tidy_answer(kept, message.get("refusal"))
    return kept


def _part(part: Mapping[str, Any]) -> Mapping[str, Any]:
    kind = part.get("type")
    if kind == "text" and len(part) > 2:  # of an answer; nobody else's may have more
        return {"type": "text", "text": part["text"]}
    if kind == "refusal":
        return {"type": "text", "text": part["refusal"]}
    return part if kind == "text" else _with_tidy(part, str(kind))


def _tidy_answer(kept: dict[str, Any], refusal: str | None) -> None:
    calls = kept.pop("tool_calls", None)
    if calls:
        kept["tool_calls"] = [_call(call) for call in calls]
    if not kept.get("content") and (refusal or not calls):
        kept["content"] = refusal or ""
    elif kept.get("content") == []:
        del kept["content"]


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    named = {"name": function["name"], "arguments": function["arguments"]}
    return {"id": call["id"], "type": "function", "function": named}
