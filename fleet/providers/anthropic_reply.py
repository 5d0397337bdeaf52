"""An Anthropic message as an OpenAI assistant message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from fleet.model.attempt import Answer, Failure, FailureKind, Outcome, Usage

FINISH_REASON: Mapping[str, str] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
}
"""Everything else (end_turn, stop_sequence) is OpenAI's "stop"."""


class _Block(BaseModel):
    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: dict[str, Any] = {}


class _Usage(BaseModel):
    """Anthropic counts the input read from and written to its cache apart from the rest."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _Reply(BaseModel):
    model: str
    content: tuple[_Block, ...]
    stop_reason: str
    usage: _Usage


def decode(body: bytes) -> Outcome:
    """The answer in a Messages API reply; a refusal is a content-filter failure. Raises `pydantic.ValidationError`."""
    reply = _Reply.model_validate_json(body)
    if reply.stop_reason == "refusal":
        return Failure(FailureKind.CONTENT_FILTER, "anthropic withheld the answer")
    usage = reply.usage
    cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
    return Answer(
        message=_message(reply.content),
        finish_reason=FINISH_REASON.get(reply.stop_reason, "stop"),
        usage=Usage(usage.input_tokens + cached, usage.output_tokens),
        model=reply.model,
    )


def _message(blocks: tuple[_Block, ...]) -> dict[str, Any]:
    """Text and tool calls; blocks of other types (thinking) are not part of an assistant message."""
    text = "".join(block.text for block in blocks if block.type == "text")
    calls = [
        {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": json.dumps(block.input)}}
        for block in blocks
        if block.type == "tool_use"
    ]
    if not calls:
        return {"role": "assistant", "content": text}
    return {"role": "assistant", "content": text or None, "tool_calls": calls}
