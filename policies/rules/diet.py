"""The rules of the diet: what calls of a task may leave out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar


class DietMode(StrEnum):
    """What becomes of a diet: none is made, it is tried beside the full call and compared with it, or it is used."""

    OFF = "off"
    SHADOW = "shadow"
    ON = "on"


@dataclass(frozen=True, slots=True)
class AnswerBudget:
    """The most that an answer may have: `tokens`, at which it is cut off, and `words`, which the model is told."""

    tokens: int
    words: int | None = None

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class DietRules:
    """Rules of one task's diet.

    A thread of more than `thread_tokens` is cut to the share `trim_to` of that, in whole turns. A tool is left out once
    it is known, by `tool_jobs` answers or more, to be called in less than the share `tool_use` of them. The share
    `compared` of the calls with a diet is made once more the other way, and the two answers are compared. `answers`
    has the targets whose answers are to be short.
    """

    threads: DietMode = DietMode.OFF
    tools: DietMode = DietMode.OFF
    thread_tokens: int = 8_000
    trim_to: float = 0.6
    tool_use: float = 0.02
    tool_jobs: int = 300
    compared: float = 0.05
    answers: Mapping[str, AnswerBudget] = field(default_factory=dict, hash=False)

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    @property
    def is_on(self) -> bool:
        return self.threads is DietMode.ON or self.tools is DietMode.ON or bool(self.answers)

    @property
    def is_off(self) -> bool:
        return self.threads is DietMode.OFF and self.tools is DietMode.OFF and not self.answers


NO_DIET = DietRules()


def violations(rules: DietRules) -> Iterator[tuple[str, str]]:
    """Yield the field and the broken rule of every number that makes no sense."""
    for name in ("thread_tokens", "tool_jobs"):
        if getattr(rules, name) <= 0:
            yield name, "must be more than zero"
    for name in ("trim_to", "tool_use"):
        if not 0 < getattr(rules, name) < 1:
            yield name, "must be more than 0 and less than 1"
    for target, budget in rules.answers.items():
        if budget.tokens < 1:
            yield f"answers.{target}.tokens", "must be at least 1"
        if budget.words is not None and budget.words < 1:
            yield f"answers.{target}.words", "must be at least 1; leave it out to say nothing to the model"
    if not 0 <= rules.compared <= 1:
        yield "compared", "must be between 0 and 1"
