"""What somebody says that mechanisms save: a scenario's claims, which its simulation is held against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from policies.rules.sections import STRICT, Strict


class SimulatedMechanism(StrEnum):
    """A mechanism that can be left out of a simulation."""

    ALONE = "alone"
    PATTERNS = "patterns"
    EXACT = "exact"
    COALESCING = "coalescing"
    SEMANTIC = "semantic"
    TOOLS = "tools"
    TRIMMING = "trimming"
    PROMPT_CACHE = "prompt_cache"
    DISCOUNTS = "discounts"
    ROUTING = "routing"


@dataclass(frozen=True, slots=True)
class Step:
    """A stage of introducing `mechanisms`. `claimed` is the share of the bill that is said to go."""

    name: str
    mechanisms: tuple[SimulatedMechanism, ...] = tuple(SimulatedMechanism)
    claimed: float | None = None

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class Study:
    """The question what each mechanism saves.

    `all_cloud` is the target that answers everything without ROUTING; None: the last one outside the fleet on the
    ladder of complex requests. `claims` are shares of the bill before that somebody says each mechanism saves.
    """

    all_cloud: str | None = None
    steps: tuple[Step, ...] = (Step("all"),)
    claims: Mapping[SimulatedMechanism, float] = field(default_factory=dict)

    __pydantic_config__: ClassVar[Strict] = STRICT


def violations(study: Study) -> Iterator[tuple[str, str]]:
    """Yield the field and the broken rule of everything that is wrong by itself."""
    if not study.steps:
        yield "steps", "must have at least one step"
    claimed = {
        **{f"claims.{mechanism}": share for mechanism, share in study.claims.items()},
        **{f"steps.{place}.claimed": step.claimed for place, step in enumerate(study.steps)},
    }
    for path, share in claimed.items():
        if share is not None and not 0 <= share <= 1:
            yield path, "must be between 0 and 1"
