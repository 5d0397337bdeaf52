"""The rules: all the operator's decisions in one frozen value."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from fleet.model.calibration import ThresholdMode
from fleet.model.errors import ConfigError
from fleet.model.job import TENANT, Lane, Plan
from fleet.model.target import FLEET, Effort, Target
from policies.caching import patterns
from policies.caching.patterns import PatternRules
from policies.rules import diet, discounts
from policies.rules.caching import LONGEST_KEPT_SECONDS, CacheRules
from policies.rules.catalogue import Catalogue
from policies.rules.discounts import DiscountRules
from policies.rules.ladders import Ladder, Routes, routes_of
from policies.rules.sections import (
    STRICT,
    BreakerRules,
    Complexity,
    ConfidenceRules,
    Deadlines,
    DeliveryRules,
    Estimates,
    MoneyRules,
    OverloadRules,
    Phase,
    PlanRules,
    PrefixCacheRules,
    QuotaRules,
    ResidencyRules,
    RetryRules,
    RouterRules,
    ScalingRules,
    ShadowRules,
    Strict,
    Task,
)
from policies.training import TrainingRules


@dataclass(frozen=True, slots=True)
class Rules:
    """The contents of `rules.yaml`, with their catalogue; `phase` is the one in force.

    Raises: ConfigError if the two do not fit together or a number makes no sense.
    """

    catalogue: Catalogue
    phase: str
    phases: Mapping[str, Phase]
    plans: Mapping[Plan, PlanRules]
    tasks: Mapping[str, Task]
    complexity: Complexity
    confidence: ConfidenceRules
    retry: RetryRules
    breaker: BreakerRules
    deadlines: Deadlines
    estimates: Estimates
    delivery: DeliveryRules
    money: MoneyRules
    shadow: ShadowRules = field(default_factory=ShadowRules)
    router: RouterRules = field(default_factory=RouterRules)
    quotas: QuotaRules = field(default_factory=QuotaRules)
    residency: ResidencyRules = field(default_factory=ResidencyRules)
    scaling: ScalingRules = field(default_factory=ScalingRules)
    overload: OverloadRules = field(default_factory=OverloadRules)
    prefix_cache: PrefixCacheRules = field(default_factory=PrefixCacheRules)
    cache: CacheRules = field(default_factory=CacheRules)
    patterns: PatternRules = field(default_factory=PatternRules)
    discounts: DiscountRules = field(default_factory=DiscountRules)
    training: TrainingRules = field(default_factory=TrainingRules)
    arm: str | None = None
    """The arm of an experiment that these rules are of, as `<experiment>.<arm>`; None outside one, and in documents."""
    adapter: str | None = None
    """The digest of the adapter that jobs of the arm try; None outside an arm, and in documents."""
    routes: Routes = field(init=False, repr=False, compare=False)
    lane_seconds: Mapping[Lane, float] = field(init=False, repr=False, compare=False)
    cheaper_ways: Mapping[str, Ladder] = field(init=False, repr=False, compare=False)

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
        object.__setattr__(self, "cheaper_ways", discounts.cheaper_ways(self.discounts, self.catalogue))


def _lane_seconds(deadlines: Deadlines) -> Mapping[Lane, float]:
    return {
        Lane.INTERACTIVE: deadlines.interactive_seconds,
        Lane.STANDARD: deadlines.standard_seconds,
        Lane.BULK: deadlines.bulk_seconds,
    }


def _violations(rules: Rules) -> Iterator[tuple[str, str]]:
    """Yield the dotted path and the broken rule of everything wrong outside the ladders."""
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
    yield from _shares(rules)
    yield from _money(rules)
    yield from _quotas(rules)
    yield from _plans(rules)
    yield from _residency(rules)
    yield from _tenants(rules)
    yield from _cache(rules)
    for task, of_task in rules.tasks.items():
        for path, rule in diet.violations(of_task.diet):
            yield f"tasks.{task}.diet.{path}", rule
        for target in of_task.diet.answers:
            yield from _answers(f"tasks.{task}.diet.answers.{target}", rules.catalogue.get(target))
    for path, rule in rules.cache.semantic.violations(rules.tasks, rules.catalogue.targets).items():
        yield f"cache.semantic.{path}", rule
    for path, rule in patterns.violations(rules.patterns, rules.tasks):
        yield f"patterns.{path}", rule
    for path, rule in discounts.violations(rules.discounts, rules.catalogue):
        yield f"discounts.{path}", rule
    for path, value in _positive(rules):
        if not 0 < value < math.inf:
            yield path, "must be more than zero, and finite"
    if rules.complexity.medium_from > rules.complexity.complex_from:
        yield "complexity.complex_from", "must not be below medium_from"
    if rules.overload.return_at > rules.overload.climb_at:
        yield "overload.return_at", "must not be above climb_at"


def _shares(rules: Rules) -> Iterator[tuple[str, str]]:
    """Check every share and probability, and the names it belongs to."""
    confidence, shadow = rules.confidence, rules.shadow
    for path, value in (("confidence.risk", confidence.risk), ("confidence.delta", confidence.delta)):
        if not 0 < value < 1:
            yield path, "must be more than 0 and less than 1"
    shares = {
        "confidence.escalation_rate": confidence.escalation_rate,
        "confidence.grey_width": confidence.grey_width,
        "router.skip_below": rules.router.skip_below,
        "shadow.kept": shadow.kept,
        "shadow.escalated": shadow.escalated,
        "training.share": rules.training.share,
        "scaling.headroom": rules.scaling.headroom,
        "scaling.utilisation": rules.scaling.utilisation,
        "overload.climb_at": rules.overload.climb_at,
        "overload.return_at": rules.overload.return_at,
        **{f"confidence.priors.{target}": prior for target, prior in confidence.priors.items()},
    }
    for path, value in shares.items():
        if not 0 <= value <= 1:
            yield path, "must be between 0 and 1"
    for target in confidence.priors:
        if target not in rules.catalogue.targets:
            yield f"confidence.priors.{target}", "is not in the catalogue"
    for task in confidence.probes:
        if task not in rules.tasks:
            yield f"confidence.probes.{task}", "is not among the tasks"
    for task, of_task in rules.tasks.items():
        for target, needed in of_task.keep_from.items():
            yield from _keep_from(f"tasks.{task}.keep_from.{target}", target, needed, rules)


def _answers(path: str, target: Target | None) -> Iterator[tuple[str, str]]:
    if target is None:
        yield path, "is not in the catalogue"
    elif target.reasoning is not None and Effort.NONE not in target.reasoning.efforts:
        yield path, "must be a target that can answer without thinking: the budget would be thought away"


def _keep_from(path: str, target: str, needed: float, rules: Rules) -> Iterator[tuple[str, str]]:
    if target not in rules.catalogue.targets:
        yield path, "is not in the catalogue"
    if not 0 <= needed <= 1:
        yield path, "must be between 0 and 1"
    if rules.confidence.mode is ThresholdMode.GUARANTEE:
        yield (
            path,
            "does not go with confidence.mode guarantee, whose thresholds are those that `fleet calibrate` tested",
        )


def _money(rules: Rules) -> Iterator[tuple[str, str]]:
    """Refuse a limit of zero, or someone would wonder why every job that needs a cloud target ends without money."""
    money = rules.money
    limits = {
        "money.daily_usd": money.daily_usd,
        "money.tenant_daily_usd": money.tenant_daily_usd,
        **{f"money.tenants.{tenant}": limit for tenant, limit in money.tenants.items()},
    }
    for path, limit in limits.items():
        if limit is not None and not 0 < limit < math.inf:
            yield path, "must be more than zero, and finite; to spend nothing, leave the provider keys out"
    for path, share in (("money.alert_at", money.alert_at), ("money.cheap_at", money.cheap_at)):
        if not 0 < share <= 1:
            yield path, "must be more than 0, and at most 1"
    targets = rules.catalogue.targets.values()
    clouds = (target.timeout_seconds for target in targets if target.is_cloud and not target.is_batched)
    longest_seconds = max(clouds, default=0.0)
    if money.open_seconds <= longest_seconds:
        yield "money.open_seconds", f"must be more than the longest time-out of a cloud target, {longest_seconds:g}"


def _quotas(rules: Rules) -> Iterator[tuple[str, str]]:
    """Refuse a quota of zero: a tenant that is to have nothing gets no right to publish."""
    quotas = rules.quotas
    named = {"default": quotas.default, **{f"tenants.{tenant}": quota for tenant, quota in quotas.tenants.items()}}
    for path, quota in named.items():
        for name in ("in_flight", "tokens_per_minute", "queued", "files"):
            value = getattr(quota, name)
            if value is not None and value <= 0:
                yield f"quotas.{path}.{name}", "must be more than zero; leave it out for no limit"


def _plans(rules: Rules) -> Iterator[tuple[str, str]]:
    """Refuse providers the catalogue does not have: a plan with a misspelt one would silently not pay for it."""
    known = {FLEET, *rules.catalogue.providers}
    for plan, each in rules.plans.items():
        for name in sorted((each.providers or frozenset()) - known):
            yield f"plans.{plan}.providers", f"{name!r} is not in the catalogue: {', '.join(sorted(known))}"


def _residency(rules: Rules) -> Iterator[tuple[str, str]]:
    """Refuse names the catalogue does not have: misspelt ones would keep every job from every target."""
    residency, catalogue = rules.residency, rules.catalogue
    named = {"default": residency.default, **{f"tenants.{name}": each for name, each in residency.tenants.items()}}
    for path, each in named.items():
        for field_name, names, known in (
            ("regions", each.regions, catalogue.regions),
            ("providers", each.providers, frozenset({FLEET, *catalogue.providers})),
        ):
            if names is not None and not names:
                yield f"residency.{path}.{field_name}", "needs at least one name; leave it out for no limit"
            for name in sorted((names or frozenset()) - known):
                yield f"residency.{path}.{field_name}", f"{name!r} is not in the catalogue: {', '.join(sorted(known))}"


def _tenants(rules: Rules) -> Iterator[tuple[str, str]]:
    for section in ("money", "quotas", "residency", "prefix_cache", "cache", "patterns", "discounts", "training"):
        for tenant in getattr(rules, section).tenants:
            if TENANT.fullmatch(tenant) is None:
                yield f"{section}.tenants.{tenant}", f"must match {TENANT.pattern}"
    for tenant in rules.cache.semantic.tenants:
        if TENANT.fullmatch(tenant) is None:
            yield f"cache.semantic.tenants.{tenant}", f"must match {TENANT.pattern}"


def _cache(rules: Rules) -> Iterator[tuple[str, str]]:
    if rules.cache.keep_seconds > LONGEST_KEPT_SECONDS:
        yield "cache.keep_seconds", f"must be at most {LONGEST_KEPT_SECONDS:.0f}, a week"


def _positive(rules: Rules) -> Iterator[tuple[str, float]]:
    """Yield every number that must be more than zero, with its path."""
    for section, names in (
        ("retry", ("max_tries", "max_attempts", "base_seconds", "max_seconds")),
        ("breaker", ("failures", "base_seconds", "max_seconds")),
        ("deadlines", ("interactive_seconds", "standard_seconds", "bulk_seconds", "escalation_seconds")),
        ("estimates", ("characters_per_token", "tokens_per_image", "output_tokens")),
        ("delivery", ("max_deliveries",)),
        ("cache", ("keep_seconds", "entries")),
        ("discounts", ("slack_seconds",)),
        ("training", ("share", "goal")),
        ("overload", ("climb_at", "return_at")),
        ("scaling", ("headroom", "utilisation", "settle_seconds", "idle_seconds", "stale_seconds")),
        ("money", ("cheap_usd_per_million_output_tokens", "max_output_tokens", "max_tokens_per_image", "open_seconds")),
    ):
        for name in names:
            yield f"{section}.{name}", getattr(getattr(rules, section), name)
