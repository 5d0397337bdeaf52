"""Reads the tokens of a call from a provider's reply, if they are numbers of tokens at all.

A usage must not cost the answer. If a total is not a whole number from 0, the usage is unknown, which is all zero; a
detail that is none, or more than its total, is 0. Whether that many tokens were possible is judged where the request
is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.model.attempt import Usage


def openai_usage(document: Any) -> Usage:
    """Return the usage in a chat completion: what is read from a cache and written to it is part of the prompt."""
    details, said = _mapping(document, "prompt_tokens_details"), _mapping(document, "completion_tokens_details")
    return _detailed(
        _totals(document, ("prompt_tokens",), "completion_tokens"),
        details.get("cached_tokens"),
        details.get("cache_write_tokens"),
        said.get("reasoning_tokens"),
    )


ANTHROPIC_INPUTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def anthropic_usage(document: Any) -> Usage:
    """Return the usage in a Messages API reply, which counts what is read from a cache and written to it apart."""
    totals = _totals(document, ANTHROPIC_INPUTS, "output_tokens")
    if totals == Usage():
        return totals
    read, written = document.get("cache_read_input_tokens"), document.get("cache_creation_input_tokens")
    thought = _mapping(document, "output_tokens_details").get("thinking_tokens")
    kept = _mapping(document, "cache_creation").get("ephemeral_1h_input_tokens")
    return _detailed(totals, read, written, thought, kept)


def _totals(document: Any, inputs: tuple[str, ...], output: str) -> Usage:
    """Return the totals under these names; the first of `inputs` must be there, the others are added to it."""
    if not isinstance(document, Mapping):
        return Usage()
    first, *more = inputs
    found: list[Any] = [document.get(first), document.get(output), *(document.get(name) or 0 for name in more)]
    if not all(map(_is_count, found)):
        return Usage()
    return Usage(found[0] + sum(found[2:]), found[1])


def _detailed(totals: Usage, read: Any, written: Any, thought: Any, written_1h: Any = 0) -> Usage:
    cached = _up_to(totals.input_tokens, read)
    writes = _up_to(totals.input_tokens - cached, written)
    return Usage(
        totals.input_tokens,
        totals.output_tokens,
        cached_input_tokens=cached,
        cache_write_tokens=writes,
        reasoning_tokens=_up_to(totals.output_tokens, thought),
        cache_write_1h_tokens=_up_to(writes, written_1h),
    )


def _up_to(total: int, count: Any) -> int:
    return count if _is_count(count) and count <= total else 0


def _is_count(count: Any) -> bool:
    return type(count) is int and count >= 0  # True is no number of tokens


def _mapping(document: Any, name: str) -> Mapping[str, Any]:
    found = document.get(name) if isinstance(document, Mapping) else None
    return found if isinstance(found, Mapping) else {}
