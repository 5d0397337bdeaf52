"""The ladders of a phase, resolved to targets once, when the rules are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleet.model.errors import ConfigError
from fleet.model.job import Plan, Tier
from fleet.model.target import Target
from policies.rules.catalogue import Catalogue
from policies.rules.sections import Phase, PlanRules

Ladder = tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Routes:
    """Ladders, weakest rung first. `by_provider` serves tenants who bring the key of that provider."""

    by_tier: Mapping[tuple[Tier, Plan], Ladder]
    by_task: Mapping[tuple[str, Plan], Ladder]
    critical: Mapping[Plan, Ladder]
    vision: Mapping[Plan, Ladder]
    by_provider: Mapping[tuple[Tier, str], Ladder]


def routes_of(phase: Phase, path: str, plans: Mapping[Plan, PlanRules], catalogue: Catalogue) -> Routes:
    """Resolve the ladders of `phase` for every plan; `path` is its place in the rules. Raises: ConfigError."""
    tiers = {tier: resolve(phase.of_tier(tier), f"{path}.{tier}", catalogue) for tier in Tier}
    tasks = {task: resolve(names, f"{path}.tasks.{task}", catalogue) for task, names in phase.tasks.items()}
    critical = resolve(phase.critical, f"{path}.critical", catalogue)
    vision = resolve(phase.vision, f"{path}.vision", catalogue)
    return Routes(
        by_tier={(tier, plan): _paid_for(ladder, plans[plan]) for tier, ladder in tiers.items() for plan in plans},
        by_task={(task, plan): _paid_for(ladder, plans[plan]) for task, ladder in tasks.items() for plan in plans},
        critical={plan: _paid_for(critical, plans[plan]) for plan in plans},
        vision={plan: _paid_for(vision, plans[plan]) for plan in plans},
        by_provider=_by_provider(tiers, catalogue),
    )


def resolve(names: tuple[str, ...], path: str, catalogue: Catalogue) -> Ladder:
    """Return the targets of these names. Raises: ConfigError unless they are known, distinct and at least one."""
    if not names:
        raise ConfigError(path, "needs at least one target")
    for rung, name in enumerate(names):
        if name not in catalogue.targets:
            raise ConfigError(f"{path}.{rung}", f"{name!r} is not in the catalogue: {', '.join(catalogue.targets)}")
        if catalogue.targets[name].is_batched:
            raise ConfigError(f"{path}.{rung}", f"{name!r} runs in batches, which `discounts.batch` alone may choose")
        if name in names[:rung]:
            raise ConfigError(f"{path}.{rung}", f"{name!r} is on the ladder twice")
    return tuple(catalogue.targets[name] for name in names)


def _paid_for(ladder: Ladder, plan: PlanRules) -> Ladder:
    """Return the rungs the plan pays for; never none, or a phase without cheap targets would not serve small plans."""
    if plan.providers is None:
        return ladder
    return tuple(target for target in ladder if target.provider in plan.providers) or ladder[:1]


def _by_provider(tiers: Mapping[Tier, Ladder], catalogue: Catalogue) -> Mapping[tuple[Tier, str], Ladder]:
    """Return each cloud provider's rungs on the tier's ladder, or else its originals, cheapest first."""
    clouds = {target.provider for target in catalogue.targets.values() if target.is_cloud}
    originals = {each: tuple(t for t in catalogue.of_provider(each) if t.same_as is None) for each in clouds}
    return {
        (tier, provider): tuple(t for t in ladder if t.provider == provider) or originals[provider]
        for tier, ladder in tiers.items()
        for provider in clouds
    }
