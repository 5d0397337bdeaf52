"""The rules of cheaper ways to the same answer, and which targets they open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from fleet.model.target import BATCH, FLEX, Target
from policies.rules.catalogue import Catalogue
from policies.rules.ladders import Ladder
from policies.rules.sections import STRICT, Strict


@dataclass(frozen=True, slots=True)
class DiscountRules:
    """Whether a target that is the `same_as` one on the ladder, and cheaper, is tried before it.

    `providers` is for targets of the usual tier, `flex` for those of the flexible one: they are tried where the
    deadline leaves `slack_seconds`, and then the time that the usual one may take. `batch` is for providers' batches,
    which may make a job late with the probability `promise` at most. `tenants` takes tenants out.
    """

    flex: bool = False
    providers: bool = False
    batch: bool = False
    slack_seconds: float = 900.0
    promise: float = 0.01
    tenants: Mapping[str, bool] = field(default_factory=dict)

    __pydantic_config__: ClassVar[Strict] = STRICT


def cheaper_ways(rules: DiscountRules, catalogue: Catalogue) -> Mapping[str, Ladder]:
    """Return what the rules open in place of each target that has an equal, by its name."""
    opened: dict[str, list[Target]] = {}
    for target in catalogue.targets.values():
        if target.same_as is not None and _is_on(target, rules):
            opened.setdefault(target.same_as, []).append(target)
    return {name: tuple(targets) for name, targets in opened.items()}


def _is_on(target: Target, rules: DiscountRules) -> bool:
    return {FLEX: rules.flex, BATCH: rules.batch}.get(target.service_tier or "", rules.providers)


def violations(rules: DiscountRules, catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    """Yield the path below `discounts` and the broken rule of a switch that has nothing to switch on."""
    tiers = {target.service_tier for target in catalogue.targets.values() if target.same_as is not None}
    for tier, is_on in ((FLEX, rules.flex), (BATCH, rules.batch)):
        if is_on and tier not in tiers:
            yield tier, f"needs a target with `service_tier: {tier}` and `same_as` in the catalogue"
    if rules.providers and not tiers - {FLEX, BATCH}:
        yield "providers", "needs a target with `same_as` of another tier in the catalogue"
    if not 0 < rules.promise < 1:
        yield "promise", "must be more than 0 and less than 1"
