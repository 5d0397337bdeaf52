"""The rules: everything an operator decides, in one frozen value."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from fleet.model.errors import ConfigError
from fleet.model.job import Lane, Plan
from policies.catalogue import Catalogue
from policies.routes import Routes, routes_of
from policies.sections import (
    STRICT,
    BreakerRules,
    Complexity,
    ConfidenceRules,
    Deadlines,
    DeliveryRules,
    Estimates,
    Phase,
    PlanRules,
    Retry,
    Strict,
    Task,
)


@dataclass(frozen=True, slots=True)
class Rules:
    """`rules.yaml` beside the catalogue it speaks of; `phase` is the one in force.

    Raises `ConfigError` where the two do not fit together or a number makes no sense.
    """

    catalogue: Catalogue
    phase: str
    phases: Mapping[str, Phase]
    plans: Mapping[Plan, PlanRules]
    tasks: Mapping[str, Task]
    complexity: Complexity
    confidence: ConfidenceRules
    retry: Retry
    breaker: BreakerRules
    deadlines: Deadlines
    estimates: Estimates
    delivery: DeliveryRules
    routes: Routes = field(init=False, repr=False, compare=False)
    lane_seconds: Mapping[Lane, float] = field(init=False, repr=False, compare=False)

    __pydantic_config__: ClassVar[Strict] = STRICT

    def __post_init__(self) -> None:
        """Check everything, the phases not in force included: switching the phase must not be able to fail."""
        for path, rule in _violations(self):
            raise ConfigError(path, rule)
        routes = {
            name: routes_of(phase, f"phases.{name}", self.plans, self.catalogue) for name, phase in self.phases.items()
        }
        object.__setattr__(self, "routes", routes[self.phase])
        object.__setattr__(self, "lane_seconds", _lane_seconds(self.deadlines))


def _lane_seconds(deadlines: Deadlines) -> Mapping[Lane, float]:
    return {
        Lane.INTERACTIVE: deadlines.interactive_seconds,
        Lane.STANDARD: deadlines.standard_seconds,
        Lane.BULK: deadlines.bulk_seconds,
    }


def _violations(rules: Rules) -> Iterator[tuple[str, str]]:
    """Dotted path and broken rule of everything wrong that does not concern a ladder."""
    if rules.phase not in rules.phases:
        yield "phase", f"{rules.phase!r} is none of {', '.join(rules.phases)}"
    for plan in Plan:
        if plan not in rules.plans:
            yield f"plans.{plan}", "is missing"
    for plan, of_plan in rules.plans.items():
        for tier in ("simple", "medium", "complex"):
            if not 0 <= getattr(of_plan.thresholds, tier) <= 1:
                yield f"plans.{plan}.thresholds.{tier}", "must be between 0 and 1"
    for name, phase in rules.phases.items():
        for task in phase.tasks:
            if task not in rules.tasks:
                yield f"phases.{name}.tasks.{task}", "is not among the tasks"
    for path, value in _positive(rules):
        if not 0 < value < math.inf:
            yield path, "must be more than zero, and finite"
    if rules.complexity.medium_from > rules.complexity.complex_from:
        yield "complexity.complex_from", "must not be below medium_from"


def _positive(rules: Rules) -> Iterator[tuple[str, float]]:
    """Every number that must be more than zero, with its path."""
    for section, names in (
        ("retry", ("max_tries", "max_attempts", "base_seconds", "max_seconds")),
        ("breaker", ("failures", "base_seconds", "max_seconds")),
        ("deadlines", ("interactive_seconds", "standard_seconds", "bulk_seconds", "escalation_seconds")),
        ("estimates", ("characters_per_token", "tokens_per_image", "output_tokens")),
        ("delivery", ("max_deliveries",)),
    ):
        for name in names:
            yield f"{section}.{name}", getattr(getattr(rules, section), name)
