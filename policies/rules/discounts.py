"""The rules of cheaper ways to the same answer, and which targets they open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from fleet.model.target import Target
from policies.rules.catalogue import Catalogue
from policies.rules.ladders import Ladder
from policies.rules.sections import STRICT, Strict

FLEX = "flex"
"""The tier of service at half the price, whose calls may take long or be turned down."""


@dataclass(frozen=True, slots=True)
class DiscountRules:
    """Whether a target that is the `same_as` one on the ladder, and cheaper, is tried before it.

    `providers` is for targets of the usual tier, `flex` for those of the flexible one: they are tried where the
    deadline leaves `slack_seconds`, and then the time that the usual one may take. `tenants` takes tenants out.
    """

    flex: bool = False
    providers: bool = False
    slack_seconds: float = 900.0
    tenants: Mapping[str, bool] = field(default_factory=dict)

    __pydantic_config__: ClassVar[Strict] = STRICT


def cheaper_ways(rules: DiscountRules, catalogue: Catalogue) -> Mapping[str, Ladder]:
    """Return what the rules open in place of each target that has an equal, by its name."""
    opened: dict[str, list[Target]] = {}
    for target in catalogue.targets.values():
        if target.same_as is not None and (rules.flex if target.service_tier == FLEX else rules.providers):
            opened.setdefault(target.same_as, []).append(target)
    return {name: tuple(targets) for name, targets in opened.items()}


def violations(rules: DiscountRules, catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    """Yield the path below `discounts` and the broken rule of a switch that has nothing to switch on."""
    equals = [target.service_tier == FLEX for target in catalogue.targets.values() if target.same_as is not None]
    if rules.flex and True not in equals:
        yield "flex", "needs a target with `service_tier: flex` and `same_as` in the catalogue"
    if rules.providers and False not in equals:
        yield "providers", "needs a target with `same_as` and no flexible tier in the catalogue"
