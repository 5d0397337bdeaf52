"""A diet: what a call left out of its job's request."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.model.unguarded import unguarded

Ranges = tuple[tuple[int, int], ...]
"""Places in a list, each from its first to before its second number."""


@unguarded
@dataclass(frozen=True, slots=True)
class Diet:
    """What a call left out: `messages` and `tools` by their places in the request, with their estimated tokens.

    `shadow`: what it could have left out, and did not. In a comparison of two calls, one with the diet and one without,
    `agreed` says whether their answers say the same; None where that cannot be told.
    """

    messages: Ranges = ()
    message_tokens: int = 0
    tools: tuple[int, ...] = ()
    tool_tokens: int = 0
    shadow: bool = False
    agreed: bool | None = None

    @property
    def tokens(self) -> int:
        return self.message_tokens + self.tool_tokens
