"""Prices the answered jobs elsewhere: at a cloud model, at the cheapest good one, at the largest own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet.model.money import NanoUsd
from fleet.model.target import Target
from fleet.reports.answered import AnsweredJobs, PricedKind
from fleet.reports.opinions import Difference, Opinions
from fleet.reports.pricing import Pricing
from fleet.reports.shares import Share, good_enough


@dataclass(frozen=True, slots=True)
class AnotherWay:
    """Another way to answer the same jobs.

    `cost` None: there is no such way, and `chosen` says why; otherwise it says how the targets were chosen. `targets`
    counts the jobs of each. `quality` is the fleet's against these targets, None where none of them was compared.
    """

    name: str
    title: str
    chosen: str
    targets: Mapping[str, int]
    cost: NanoUsd | None
    quality: Difference | None = None

    def as_json(self, fleet: NanoUsd) -> dict[str, Any]:
        saved = None if self.cost is None else self.cost - fleet
        return {
            "name": self.name,
            "title": self.title,
            "chosen": self.chosen,
            "targets": dict(self.targets),
            "cost_nano_usd": self.cost,
            "saved_nano_usd": saved,
            "saved_share": None if saved is None or not self.cost else saved / self.cost,
            "quality": None if self.quality is None else self.quality.as_json(),
        }


@dataclass(frozen=True, slots=True)
class CloudModel:
    """The price of all answered jobs at one cloud target, and what is known of its answers here."""

    target: Target
    cost: NanoUsd
    judged: Share | None
    good_enough: bool | None

    def as_json(self) -> dict[str, Any]:
        judged = None if self.judged is None else self.judged.as_json()
        found = {"target": self.target.name, "model": self.target.model, "cost_nano_usd": self.cost, "judged": judged}
        return found | {"good_enough": self.good_enough}


def cloud_models(answered: AnsweredJobs, pricing: Pricing, opinions: Opinions) -> tuple[CloudModel, ...]:
    """Return every cloud target of the price list, cheapest first."""
    judged, fleet = opinions.good_by_target(), opinions.good()
    found = (
        CloudModel(target, _alone(answered, target, pricing), share, good_enough(share, fleet))
        for target in pricing.catalogue.targets.values()
        if target.is_cloud
        for share in (judged.get(target.name),)
    )
    return tuple(sorted(found, key=lambda each: each.cost))


def _alone(answered: AnsweredJobs, target: Target, pricing: Pricing) -> NanoUsd:
    return sum(pricing.of(batch.usage, target) for batch in answered.everyone.values())


def all_cloud(answered: AnsweredJobs, pricing: Pricing, opinions: Opinions, named: Target | None) -> AnotherWay:
    """Return the price of sending each job to `named`, else to the last cloud target of its ladder."""
    if named is not None:
        chosen = f"{named.name}, as asked for"
        return _baseline("all_cloud", "All in the cloud", chosen, lambda _: named, answered, pricing, opinions)
    chosen = "the last cloud target on each job's ladder"

    def last(kind: PricedKind) -> Target | None:
        return next(reversed(pricing.clouds(kind)), None)

    return _baseline("all_cloud", "All in the cloud", chosen, last, answered, pricing, opinions)


def cheapest_good_enough(
    answered: AnsweredJobs, pricing: Pricing, opinions: Opinions, models: tuple[CloudModel, ...]
) -> AnotherWay:
    """Return the price at the cheapest cloud target that is proven good enough.

    Where none is proven so, it is the cheapest on each job's ladder that is not proven too weak: the rules trust it.
    """
    title = "Cheapest good-enough cloud model"
    proven = next((each.target for each in models if each.good_enough), None)
    if proven is not None:
        chosen = f"{proven.name}: its judged answers are good enough, and no cheaper model's are"
        return _baseline("cheapest_good_enough", title, chosen, lambda _: proven, answered, pricing, opinions)
    everyone = answered.everyone
    weak = {each.target.name for each in models if each.good_enough is False}

    def trusted(kind: PricedKind) -> Target | None:
        usage = everyone[kind].usage
        among = (target for target in pricing.clouds(kind) if target.name not in weak)
        return min(among, key=lambda target: pricing.of(usage, target), default=None)

    chosen = "the cheapest cloud target on each job's ladder: the rules trust it, no judged answers prove it"
    return _baseline("cheapest_good_enough", title, chosen, trusted, answered, pricing, opinions)


def all_large(answered: AnsweredJobs, pricing: Pricing, opinions: Opinions) -> AnotherWay:
    """Return the price of running each job on the last of the fleet's own targets on its ladder, else the dearest."""
    own = [target for target in pricing.rules.catalogue.targets.values() if not target.is_cloud]
    dearest = max(own, key=lambda target: target.output_usd_per_million_tokens, default=None)

    def largest(kind: PricedKind) -> Target | None:
        return next((target for target in reversed(pricing.ladder(kind)) if not target.is_cloud), dearest)

    chosen = "the last of the fleet's own targets on each job's ladder, at its imputed price"
    return _baseline("all_large", "All on the largest own model", chosen, largest, answered, pricing, opinions)


def _baseline(
    name: str,
    title: str,
    chosen: str,
    choose: Callable[[PricedKind], Target | None],
    answered: AnsweredJobs,
    pricing: Pricing,
    opinions: Opinions,
) -> AnotherWay:
    cost, targets = 0, Counter[str]()
    for kind, batch in answered.everyone.items():
        target = choose(kind)
        if target is None:
            return AnotherWay(name, title, f"no such target for jobs of task {kind.task}", {}, None)
        cost += pricing.of(batch.usage, target)
        targets[target.name] += batch.jobs
    # A cached answer may be wrong as often as the one it repeats.
    again = ((kind.target, batch.jobs) for jobs in answered.given_again for kind, batch in jobs.items())
    kept = sum(jobs for target, jobs in (*answered.kept.items(), *again) if target not in targets)
    quality = opinions.difference(targets, kept / answered.count if answered.count else 0.0)
    return AnotherWay(name, title, chosen, dict(targets.most_common()), cost, quality)
