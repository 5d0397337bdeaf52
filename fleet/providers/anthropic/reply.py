"""An Anthropic message as an OpenAI assistant message."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from fleet.model.attempt import Answer, Outcome
from fleet.providers.finish import finished
from fleet.providers.openai.reply import unique_ids
from fleet.providers.usage import anthropic_usage


class _Block(BaseModel):
    type: str
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None  # an object in a call of a tool; blocks of other types are not read


class _Reply(BaseModel):
    model: str
    content: tuple[_Block, ...]
    stop_reason: str | None = None
    usage: Any = None


def decode(body: bytes) -> Outcome:
    """Return the answer in a Messages API reply, or the failure it stands for.

    Raises: pydantic.ValidationError if the body is no such reply.
    """
    reply = _Reply.model_validate_json(body)
    answer = Answer(
        message=_message(reply.content),
        finish_reason="stop",
        usage=anthropic_usage(reply.usage),
        model=reply.model,
    )
    return finished(answer, reply.stop_reason, "anthropic")


def _message(blocks: tuple[_Block, ...]) -> dict[str, Any]:
    """Return the text and the tool calls; other blocks (thinking) are not part of an assistant message."""
    text = "".join(block.text or "" for block in blocks if block.type == "text")
    uses = [block for block in blocks if block.type == "tool_use" and block.name]
    calls = [
        {
            "id": call_id,
            "type": "function",
            "function": {"name": block.name, "arguments": json.dumps(block.input or {})},
        }
        for block, call_id in zip(uses, unique_ids([block.id for block in uses]), strict=True)
    ]
    if not calls:
        return {"role": "assistant", "content": text}
    return {"role": "assistant", "content": text or None, "tool_calls": calls}
