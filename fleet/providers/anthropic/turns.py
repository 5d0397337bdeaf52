"""Conversations in the form of Anthropic's Messages API: user and assistant take turns, and a user begins and ends.

an assistant's turn first or last  gets a user's turn before it or after it, for the API wants one
a system message alone             is the user's turn
a blank text or turn               left out: the API refuses it
neighbours of one role             one turn, the results of tools first
ids and names of tool calls        in the API's characters; an id that comes twice is made two
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from fleet.model.errors import InvalidJob
from fleet.providers.history import Messages, called_name, require_answered_calls

Block = dict[str, Any]

OPENING = "(The conversation begins.)"
GO_ON = "(Please go on.)"

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
PDF = "application/pdf"


def turns_of(messages: Messages, system: str) -> tuple[str, list[Block]]:
    """Return the system prompt and the turns.

    Raises: InvalidJob for a field that has no counterpart in the API.
    """
    ids = _Ids()
    turns: list[Block] = []
    for index, message in enumerate(messages):
        if message["role"] not in ("system", "developer"):
            _append(turns, *_turn(message, index, ids))
    require_answered_calls(messages)
    if not turns:
        if not system:
            raise InvalidJob("request.messages", "must hold a text that is not blank at anthropic")
        return "", [{"role": "user", "content": [_text(system)]}]
    if turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [_text(OPENING)]})
    if turns[-1]["role"] == "assistant":
        turns.append({"role": "user", "content": [_text(GO_ON)]})
    return system, turns


def _append(turns: list[Block], role: str, blocks: list[Block]) -> None:
    if not blocks:
        return
    if not turns or turns[-1]["role"] != role:
        turns.append({"role": role, "content": blocks})
        return
    together = turns[-1]["content"] + blocks
    turns[-1]["content"] = sorted(together, key=lambda block: block["type"] != "tool_result")


def _turn(message: Mapping[str, Any], index: int, ids: _Ids) -> tuple[str, list[Block]]:
    match message["role"]:
        case "user":
            return "user", _content(message, index)
        case "assistant":
            return "assistant", _content(message, index) + _tool_uses(message, index, ids)
        case "tool":
            return "user", [_tool_result(message, ids)]
        case _:
            raise InvalidJob(f"request.messages.{index}.role", "has no counterpart at anthropic")


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _content(message: Mapping[str, Any], index: int) -> list[Block]:
    content = message.get("content") or []
    parts = [_text(content)] if isinstance(content, str) else content
    blocks = [_block(part, f"request.messages.{index}.content.{position}") for position, part in enumerate(parts)]
    return [block for block in blocks if block["type"] != "text" or block["text"].strip()]


def _block(part: Mapping[str, Any], path: str) -> Block:
    match part["type"]:
        case "text":
            return _text(part["text"])
        case "image_url":
            return {"type": "image", "source": _source(part["image_url"]["url"], f"{path}.image_url.url", IMAGES)}
        case "file" if part["file"].get("file_data"):
            return {"type": "document", "source": _source(part["file"]["file_data"], f"{path}.file.file_data", (PDF,))}
        case "file":
            raise InvalidJob(f"{path}.file.file_data", "is required at anthropic")
        case _:
            raise InvalidJob(f"{path}.type", "has no counterpart at anthropic")


def _source(url: str, path: str, media_types: tuple[str, ...]) -> Block:
    if url[:8].lower() == "https://":
        return {"type": "url", "url": url}
    kind, comma, data = url[5:].partition(",")
    if url[:5].lower() != "data:" or not comma or not kind.lower().endswith(";base64"):
        raise InvalidJob(path, "must be an https or a base64 data URL")
    media_type = kind.partition(";")[0].lower().replace("image/jpg", "image/jpeg")
    if media_type not in media_types or not data:
        raise InvalidJob(path, f"must hold one of {', '.join(media_types)} at anthropic")
    return {"type": "base64", "media_type": media_type, "data": data}


def _tool_uses(message: Mapping[str, Any], index: int, ids: _Ids) -> list[Block]:
    return [
        {
            "type": "tool_use",
            "id": ids.of_call(call["id"]),
            "name": called_name(call["function"]["name"]),
            "input": _arguments(call, f"request.messages.{index}.tool_calls.{position}"),
        }
        for position, call in enumerate(message.get("tool_calls") or ())
    ]


def _arguments(call: Mapping[str, Any], path: str) -> Any:
    try:
        arguments = json.loads(call["function"]["arguments"] or "{}")
        json.dumps(arguments, allow_nan=False)
    except (ValueError, RecursionError):
        raise InvalidJob(f"{path}.function.arguments", "must be JSON") from None
    if arguments is not None and not isinstance(arguments, dict):
        raise InvalidJob(f"{path}.function.arguments", "must be a JSON object at anthropic")
    return arguments or {}


def _tool_result(message: Mapping[str, Any], ids: _Ids) -> Block:
    content = message.get("content") or ""
    text = content if isinstance(content, str) else "\n".join(part["text"] for part in content)
    result: Block = {"type": "tool_result", "tool_use_id": ids.of_result(message["tool_call_id"])}
    return {**result, "content": text} if text.strip() else result


class _Ids:
    """The API's ids for a conversation's tool calls; a result belongs to the latest call with its id."""

    def __init__(self) -> None:
        self._latest: dict[str, str] = {}
        self._used: set[str] = set()

    def of_call(self, call_id: str) -> str:
        name = call_id
        while name in self._used or not _ID.fullmatch(name):
            name = "toolu_" + hashlib.sha256(f"{len(self._used)}:{call_id}".encode()).hexdigest()[:24]
        self._used.add(name)
        self._latest[call_id] = name
        return name

    def of_result(self, call_id: str) -> str:
        return self._latest.get(call_id, call_id)
