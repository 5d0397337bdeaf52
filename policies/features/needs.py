"""The needs of a request: the room and the abilities that its target must have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet.model.job import ChatRequest
from fleet.model.target import Capability
from fleet.model.unguarded import unguarded
from policies.rules.sections import Estimates

_NOTHING_SPECIAL: frozenset[Capability] = frozenset()


@unguarded
@dataclass(frozen=True, slots=True)
class Needs:
    """A request's needs. `input_tokens` is an estimate; `output_tokens` as requested (None: the engine decides)."""

    input_tokens: int
    output_tokens: int | None
    capabilities: frozenset[Capability]

    @property
    def images(self) -> bool:
        return Capability.VISION in self.capabilities

    @property
    def context_tokens(self) -> int:
        """The minimum context that can hold the prompt and the requested output (at least one token)."""
        return self.input_tokens + (self.output_tokens or 1)


def needs_of(request: ChatRequest, estimates: Estimates) -> Needs:
    """Read the request once and estimate its needs.

    Tokens are characters by `characters_per_token`, rounded up, plus a flat price per image: near enough to skip a
    target that is far too small. The engine's own refusal (`context_too_long`) settles the close calls.
    """
    characters, images, special = _measure(request.get("messages", ()))
    tools, response_format = request.get("tools"), request.get("response_format")
    if tools:
        characters += len(str(tools))
    return Needs(
        input_tokens=math.ceil(characters / estimates.characters_per_token) + images * estimates.tokens_per_image,
        output_tokens=request.get("max_completion_tokens") or request.get("max_tokens"),
        capabilities=special | _capabilities(bool(tools), response_format) if tools or response_format else special,
    )


def tokens_of(request: ChatRequest, estimates: Estimates) -> int:
    """Return the request's tokens where tenants share tokens: its prompt and all the output it may have."""
    needs = needs_of(request, estimates)
    return needs.input_tokens + (needs.output_tokens or estimates.output_tokens)


def _capabilities(tools: bool, response_format: Any) -> frozenset[Capability]:
    schema = isinstance(response_format, Mapping) and response_format.get("type") == "json_schema"
    wanted = ((Capability.TOOLS, tools), (Capability.JSON_SCHEMA, schema))
    return frozenset(capability for capability, needed in wanted if needed)


_OF_PART = {"image_url": Capability.VISION, "input_audio": Capability.AUDIO, "file": Capability.FILES}


def _measure(messages: Iterable[Any]) -> tuple[int, int, frozenset[Capability]]:
    """Count the characters of text and the images, and collect the abilities needed to read the parts.

    Parts of no known shape count nothing: the engine judges them.
    """
    characters = images = 0
    special = _NOTHING_SPECIAL
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            characters += len(content)
        elif isinstance(content, list):
            for part in content:
                kind = part.get("type")
                characters += len(part.get("text") or "")
                images += kind == "image_url"
                if kind in _OF_PART:
                    special |= {_OF_PART[kind]}
    return characters, images, special
