"""An Anthropic message as an OpenAI assistant message."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from fleet.model.attempt import Answer, Outcome, Usage
from fleet.providers.finish import finished


class _Block(BaseModel):
    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: Any = None  # an object in a call of a tool; blocks of other types are not read


class _Usage(BaseModel):
    """Anthropic counts the input read from and written to its cache apart from the rest."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _Reply(BaseModel):
    model: str
    content: tuple[_Block, ...]
    stop_reason: str | None = None
    usage: _Usage


def decode(body: bytes) -> Outcome:
    """The answer in a Messages API reply, or why it is none. Raises `pydantic.ValidationError`."""
    reply = _Reply.model_validate_json(body)
    usage = reply.usage
    cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
    answer = Answer(
        message=_message(reply.content),
        finish_reason="stop",
        usage=Usage(usage.input_tokens + cached, usage.output_tokens),
        model=reply.model,
    )
    return finished(answer, reply.stop_reason, "anthropic")


def _message(blocks: tuple[_Block, ...]) -> dict[str, Any]:
    """Text and tool calls; blocks of other types (thinking) are not part of an assistant message."""
    text = "".join(block.text for block in blocks if block.type == "text")
    calls = [
        {
            "id": block.id,
            "type": "function",
            "function": {"name": block.name, "arguments": json.dumps(block.input or {})},
        }
        for block in blocks
        if block.type == "tool_use"
    ]
    if not calls:
        return {"role": "assistant", "content": text}
    return {"role": "assistant", "content": text or None, "tool_calls": calls}
