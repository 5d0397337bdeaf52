"""A chat completion as the chunks of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fleet.model.completion import ChatCompletion


def chunks_of(whole: ChatCompletion, include_usage: bool) -> Iterator[dict[str, Any]]:
    """Yield the chunks of a completion: the whole turn in one, how it ended, and if asked for what it used."""
    [choice] = whole["choices"]
    turn: dict[str, Any] = dict(choice["message"])
    if calls := turn.get("tool_calls"):
        turn["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    about: dict[str, Any] = {
        "id": whole["id"],
        "object": "chat.completion.chunk",
        "created": whole["created"],
        "model": whole["model"],
        "service_tier": whole["service_tier"],
    }
    if include_usage:
        about["usage"] = None
    yield {**about, "choices": [{"index": 0, "delta": turn, "finish_reason": None, "logprobs": None}]}
    ended = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"], "logprobs": None}
    yield {**about, "choices": [ended], "fleet": whole["fleet"]}
    if include_usage:
        yield {**about, "choices": [], "usage": whole["usage"]}
