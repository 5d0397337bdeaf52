"""The rules of the diet: what calls of a task may leave out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class DietMode(StrEnum):
    """What becomes of a diet: none is made, it is tried beside the full call and compared with it, or it is used."""

    OFF = "off"
    SHADOW = "shadow"
    ON = "on"


@dataclass(frozen=True, slots=True)
class DietRules:
    """Rules of one task's diet.

    A thread of more than `thread_tokens` is cut to the share `trim_to` of that, in whole turns. A tool is left out once
    it is known, by `tool_jobs` answers or more, to be called in less than the share `tool_use` of them. The share
    `compared` of the calls with a diet is made once more the other way, and the two answers are compared.
    """

    threads: DietMode = DietMode.OFF
    tools: DietMode = DietMode.OFF
    thread_tokens: int = 8_000
    trim_to: float = 0.6
    tool_use: float = 0.02
    tool_jobs: int = 300
    compared: float = 0.05

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    @property
    def is_on(self) -> bool:
        return self.threads is DietMode.ON or self.tools is DietMode.ON

    @property
    def is_off(self) -> bool:
        return self.threads is DietMode.OFF and self.tools is DietMode.OFF


NO_DIET = DietRules()


def violations(rules: DietRules) -> Iterator[tuple[str, str]]:
    """Yield the field and the broken rule of every number that makes no sense."""
    for name in ("thread_tokens", "tool_jobs"):
        if getattr(rules, name) <= 0:
            yield name, "must be more than zero"
    for name in ("trim_to", "tool_use"):
        if not 0 < getattr(rules, name) < 1:
            yield name, "must be more than 0 and less than 1"
    if not 0 <= rules.compared <= 1:
        yield "compared", "must be between 0 and 1"
