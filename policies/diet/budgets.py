"""Asks for a short answer: the model is told in words, and cut off at a number of tokens."""

from __future__ import annotations

from typing import Any

from fleet.model.diet import Diet
from fleet.model.job import ChatRequest

_LIMITS = ("max_completion_tokens", "max_tokens")


def within(request: ChatRequest, diet: Diet) -> ChatRequest:
    """Return the request with its answer limited; a limit of the job's own that is lower stays."""
    limits = {name: min(request[name], diet.answer_tokens) for name in _LIMITS if request.get(name)}
    short = {**request, **(limits or {"max_tokens": diet.answer_tokens})}
    if diet.answer_words:
        short["messages"] = _told(request.get("messages") or (), f"Answer in at most {diet.answer_words} words.")
    return short


def limits_of(request: ChatRequest) -> list[int]:
    """Return what the request itself limits its answer to, by one name or both."""
    return [request[name] for name in _LIMITS if request.get(name)]


def _told(messages: Any, wish: str) -> list[Any]:
    """Return the messages with the wish at the end of the system prompt, which comes first: so prefixes stay alike."""
    first, rest = (messages[0], messages[1:]) if messages else ({}, ())
    if first.get("role") == "system" and isinstance(first.get("content"), str):
        return [{**first, "content": f"{first['content']}\n\n{wish}"}, *rest]
    return [{"role": "system", "content": wish}, *messages]
