"""What a request needs of the target that answers it: room and abilities."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet.model.job import ChatRequest
from fleet.model.target import Capability
from policies.rules.sections import Estimates

_NOTHING_SPECIAL: frozenset[Capability] = frozenset()


@dataclass(frozen=True, slots=True)
class Needs:
    """`input_tokens` is an estimate; `output_tokens` is what was asked for, None where the engine decides."""

    input_tokens: int
    output_tokens: int | None
    capabilities: frozenset[Capability]

    @property
    def images(self) -> bool:
        return Capability.VISION in self.capabilities

    @property
    def context_tokens(self) -> int:
        """The least context that can hold the prompt and what was asked for (at least one token)."""
        return self.input_tokens + (self.output_tokens or 1)


def needs_of(request: ChatRequest, estimates: Estimates) -> Needs:
    """Reads the request once. Tokens are characters by `characters_per_token`, rounded up, plus a flat price
    per image: near enough to skip a target that is far too small. The engine's own refusal
    (`context_too_long`) settles the close calls.
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
    """What the request is counted as where tenants share tokens: its prompt and all the output it may have."""
    needs = needs_of(request, estimates)
    return needs.input_tokens + (needs.output_tokens or estimates.output_tokens)


def _capabilities(tools: bool, response_format: Any) -> frozenset[Capability]:
    schema = isinstance(response_format, Mapping) and response_format.get("type") == "json_schema"
    wanted = ((Capability.TOOLS, tools), (Capability.JSON_SCHEMA, schema))
    return frozenset(capability for capability, needed in wanted if needed)


_OF_PART = {"image_url": Capability.VISION, "input_audio": Capability.AUDIO, "file": Capability.FILES}


def _measure(messages: Iterable[Any]) -> tuple[int, int, frozenset[Capability]]:
    """Characters of text, number of images, and what it takes to read the parts.

    What has no known shape counts nothing: the engine judges it.
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
