"""A diet: what a call left out of its job's request, and how short its answer was to be."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.model.unguarded import unguarded

Ranges = tuple[tuple[int, int], ...]
"""Places in a list, each from its first to before its second number."""


@unguarded
@dataclass(frozen=True, slots=True)
class Diet:
    """What a call left out: `messages` and `tools` by their places in the request, with their estimated tokens.

    `answer_tokens` and `answer_words` are the most that the answer was to have; 0: the job's own limit alone.
    `shadow`: what it could have left out, and did not. In a comparison of two calls, one with the diet and one without,
    `agreed` says whether their answers say the same; None where that cannot be told.
    """

    messages: Ranges = ()
    message_tokens: int = 0
    tools: tuple[int, ...] = ()
    tool_tokens: int = 0
    shadow: bool = False
    agreed: bool | None = None
    answer_tokens: int = 0
    answer_words: int = 0

    @property
    def has_budget(self) -> bool:
        """Whether the answer was asked to be short: a shorter answer is another one."""
        return not self.shadow and self.answer_tokens > 0

    @property
    def tokens(self) -> int:
        return self.message_tokens + self.tool_tokens
