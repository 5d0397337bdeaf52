"""What jobs of a kind ask: which prompts there are, how often each is asked, and the parts that a prompt is made of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from policies.rules.sections import STRICT, Strict


@dataclass(frozen=True, slots=True)
class Prompts:
    """The questions that jobs of a kind ask, the commonest first.

    `texts` are the messages themselves; without them there are `distinct` invented ones. Question number n is asked
    n ** -`zipf` times as often as the first (Zipf's law), or as often as `counts` says: so many times each in a record.
    Each is put in one of `wordings`, which are equally common: the same question to a reader, not to an exact cache.
    """

    texts: tuple[str, ...] = ()
    distinct: int = 1
    zipf: float = 1.0
    counts: tuple[int, ...] = ()
    wordings: int = 1

    __pydantic_config__: ClassVar[Strict] = STRICT

    def weights(self) -> list[float]:
        """Return how often each question is asked, over the whole."""
        size = len(self.texts) or self.distinct
        plain = self.counts or tuple(rank**-self.zipf for rank in range(1, size + 1))
        return [each / sum(plain) for each in plain]


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a prompt in tokens: `instructions` and `tools` are the same in every job of the kind, `message` is
    what the user says now. What a job has beyond them is the thread before, in turns of `turn` tokens.

    `tool_use` is the share of jobs that call a tool. `alone`: the message makes sense without the thread. `warm`: the
    share of jobs whose thread went to the provider so shortly before that it is still in the provider's prompt cache.
    """

    instructions: int = 0
    tools: int = 0
    message: int = 50
    turn: int = 250
    tool_use: float = 0.0
    alone: bool = False
    warm: float = 0.0

    __pydantic_config__: ClassVar[Strict] = STRICT


def prompts_violations(prompts: Prompts) -> Iterator[tuple[str, str]]:
    """Yield the field and the broken rule of everything wrong."""
    for name in ("distinct", "wordings"):
        if getattr(prompts, name) < 1:
            yield name, "must be 1 or more"
    if not 0 <= prompts.zipf < math.inf:
        yield "zipf", "must be zero or more, and finite"
    if any(not text.strip() for text in prompts.texts):
        yield "texts", "must not have an empty message"
    if prompts.texts and prompts.distinct != 1:
        yield "distinct", "does not go with texts, which are as many as there are"
    if prompts.texts and prompts.wordings != 1:
        yield "wordings", "does not go with texts: give each wording as a text"
    size = len(prompts.texts) or prompts.distinct
    if prompts.counts and len(prompts.counts) != size:
        yield "counts", f"must be {size}, one for each question"
    if any(count < 1 for count in prompts.counts):
        yield "counts", "must be 1 or more each"


def parts_violations(parts: Parts) -> Iterator[tuple[str, str]]:
    """Yield the field and the broken rule of everything wrong."""
    for name in ("instructions", "tools"):
        if getattr(parts, name) < 0:
            yield name, "must be zero or more"
    if parts.message < 1:
        yield "message", "must be 1 or more"
    if parts.turn < parts.message:
        yield "turn", f"must not be less than message, which is {parts.message}"
    for name in ("tool_use", "warm"):
        if not 0 <= getattr(parts, name) <= 1:
            yield name, "must be between 0 and 1"
