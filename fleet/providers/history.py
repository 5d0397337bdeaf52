"""Checks what every provider demands of a conversation before anything is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fleet.model.errors import InvalidJob

Messages = Sequence[Mapping[str, Any]]

JSON_ONLY = "Answer with one JSON object and nothing else: no prose around it, no code fence."

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NO_NAME_CHARACTER = re.compile(r"[^A-Za-z0-9_-]")


def parts_of(messages: Messages) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every content part with its path in the job."""
    for index, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, list):
            for position, part in enumerate(content):
                yield f"request.messages.{index}.content.{position}", part


def require_own_files(messages: Messages, own_key: bool) -> None:
    """Refuse a `file_id` on the fleet's key, because the file lies in an account that is not the fleet's.

    Raises: InvalidJob if there is one.
    """
    for path, part in parts_of(messages):
        if not own_key and part.get("type") == "file" and part["file"].get("file_id"):
            raise InvalidJob(f"{path}.file.file_id", "needs own_key, for it names a file of an account; send file_data")


def require_tools(request: Mapping[str, Any]) -> None:
    """Require valid names of tools, and a tool choice that can be met.

    Raises: InvalidJob if a tool's name is not valid, or if the tool to be called does not exist.
    """
    tools = request.get("tools") or ()
    for index, tool in enumerate(tools):
        if not _NAME.fullmatch(tool["function"]["name"]):
            raise InvalidJob(f"request.tools.{index}.function.name", f"must match {_NAME.pattern} at this provider")
    wanted = request.get("tool_choice")
    if wanted is not None and not tools:
        raise InvalidJob("request.tool_choice", "needs tools")
    if isinstance(wanted, Mapping) and wanted.get("type") == "function":
        name = wanted["function"]["name"]
        if not any(tool["function"]["name"] == name for tool in tools):
            raise InvalidJob("request.tool_choice.function.name", "must be the name of one of the tools")


def require_distinct(tools: Sequence[Mapping[str, Any]]) -> None:
    """Require a different name for each tool.

    Raises: InvalidJob if two tools share a name.
    """
    names = [tool["function"]["name"] for tool in tools]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InvalidJob(f"request.tools.{index}.function.name", "must not be that of another tool")


def require_answered_calls(messages: Messages) -> None:
    """Require that the tool messages after each assistant's turn answer each of its calls exactly once.

    Raises: InvalidJob if they do not.
    """
    waiting: set[str] = set()
    asked_at = 0
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                raise InvalidJob(f"request.messages.{index}.tool_call_id", "must answer a call of the turn before it")
            waiting.remove(message["tool_call_id"])
            continue
        _require_none(waiting, asked_at)
        waiting = {call["id"] for call in message.get("tool_calls") or ()}
        asked_at = index
    _require_none(waiting, asked_at)


def _require_none(waiting: set[str], asked_at: int) -> None:
    if waiting:
        raise InvalidJob(f"request.messages.{asked_at}.tool_calls", "must each be answered by a tool message after it")


def tool_schema(parameters: Mapping[str, Any] | None, path: str) -> dict[str, Any]:
    """Return the parameters of the tool at `path`; providers demand an object at the top, without choices.

    Raises: InvalidJob if there is a choice at the top.
    """
    found = {name: value for name, value in (parameters or {}).items() if value is not None}
    if choice := next((name for name in ("anyOf", "oneOf", "allOf", "enum", "not") if name in found), None):
        raise InvalidJob(f"{path}.function.parameters.{choice}", "cannot be at the top at this provider")
    return {"properties": {}, **found, "type": "object"}


def called_name(name: str) -> str:
    """Return a called tool's name in the characters that providers accept: a model may have invented the name."""
    return _NO_NAME_CHARACTER.sub("_", name)[:64] or "_"


def speaks_of_json(messages: Messages) -> bool:
    """Return whether a message holds the word JSON, which OpenAI and Groq demand if a JSON object is wanted."""
    return any("json" in json.dumps(message.get("content"), ensure_ascii=False).lower() for message in messages)
