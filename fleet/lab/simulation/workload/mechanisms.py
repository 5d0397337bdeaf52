"""What spares a simulated fleet calls and tokens, as a scenario sets it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from policies.caching.patterns import PatternRules
from policies.rules.diet import DietRules
from policies.rules.sections import STRICT, CacheMode, Strict


@dataclass(frozen=True, slots=True)
class SemanticHits:
    """A semantic cache by what was measured of it: `found` of the questions that it knows in other words it answers,
    and of all requests it answers `wrong` with the answer to another question.
    """

    found: float
    wrong: float = 0.01

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class PromptCaches:
    """The providers' own caches: a prompt of `least_tokens` or more that begins like one of the last `seconds`, read at
    the catalogue's price of cached input by the `targets` that do so without being asked.
    """

    targets: frozenset[str]
    least_tokens: int = 1024
    seconds: float = 300.0

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class Discounts:
    """Targets with batches at half price. A batch takes a lognormal time, and the share `never` does not end, as
    OpenRouter saw 230,000 of them. A flexible tier is a target of its own, which the rules try first.
    """

    batch: frozenset[str] = frozenset()
    median_seconds: float = 420.0
    p90_seconds: float = 3600.0
    never: float = 0.02

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class Mechanisms:
    """The mechanisms of a simulated fleet.

    `patterns`, and of each task `cache` (the mode of the exact cache) and `diet`, stand in for the rules' own. `exact`:
    the same request gets the answer that was kept; `coalesced`: it waits for one that is being made. `alone`: messages
    that make sense without their thread are sent without it. `trimming`, `tools`: the diet leaves out old turns, and
    unused tools.
    """

    patterns: PatternRules | None = None
    cache: Mapping[str, CacheMode] = field(default_factory=dict)
    exact: bool = True
    coalesced: bool = True
    semantic: SemanticHits | None = None
    alone: bool = False
    diet: Mapping[str, DietRules] = field(default_factory=dict)
    trimming: bool = True
    tools: bool = True
    prompt_caches: PromptCaches | None = None
    discounts: Discounts | None = None

    __pydantic_config__: ClassVar[Strict] = STRICT


def violations(mechanisms: Mechanisms) -> Iterator[tuple[str, str]]:
    """Yield the field and the broken rule of everything that is wrong by itself."""
    semantic, caches = mechanisms.semantic, mechanisms.prompt_caches
    if semantic is not None and (min(semantic.wrong, semantic.found) < 0 or semantic.found + semantic.wrong > 1):
        yield "semantic", "must have shares of zero or more that are not over 1 together"
    if caches is not None and caches.least_tokens < 1:
        yield "prompt_caches.least_tokens", "must be 1 or more"
    if caches is not None and not caches.seconds > 0:
        yield "prompt_caches.seconds", "must be more than zero"
    yield from _of_discounts(mechanisms.discounts or Discounts())


def _of_discounts(discounts: Discounts) -> Iterator[tuple[str, str]]:
    if not 0 < discounts.median_seconds < discounts.p90_seconds < math.inf:
        yield "discounts.p90_seconds", "must be more than median_seconds, which must be more than zero"
    if not 0 <= discounts.never < 1:
        yield "discounts.never", "must be zero or more, and less than 1"


def targets_named(mechanisms: Mechanisms) -> Mapping[str, frozenset[str]]:
    """Return the targets that the mechanisms name, by field."""
    caches, discounts = mechanisms.prompt_caches, mechanisms.discounts or Discounts()
    return {
        "prompt_caches.targets": frozenset() if caches is None else caches.targets,
        "discounts.batch": discounts.batch,
    }
