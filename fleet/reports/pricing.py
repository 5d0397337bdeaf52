"""Prices answered jobs as if another target had answered them, at the prices of a catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleet.model.attempt import Usage
from fleet.model.errors import ConfigError
from fleet.model.job import Plan, Tier
from fleet.model.money import NanoUsd
from fleet.model.target import FLEET, PATTERN, Target
from fleet.reports.answered import AnsweredJobs, PricedKind
from fleet.reports.cost import tier_of_task
from policies.budget import priced
from policies.money import cost_of
from policies.rules.catalogue import Catalogue
from policies.rules.ladders import Ladder
from policies.rules.rules import Rules


@dataclass(frozen=True, slots=True)
class Pricing:
    """The prices of `catalogue` for jobs of the ladders in `rules`; `calls` are the tokens of the fleet's own calls."""

    rules: Rules
    catalogue: Catalogue
    calls: Mapping[str, Usage]

    def of(self, usage: Usage, target: Target) -> NanoUsd:
        """Return the price of these tokens at `target`, as much of them cached as of the fleet's own calls there.

        Raises: ConfigError if the catalogue of prices does not have the target.
        """
        listed = self.catalogue.get(target.name)
        if listed is None:
            raise ConfigError("--prices", f"has no target {target.name!r}, which is on a ladder of the rules")
        return cost_of(priced(_cached_alike(usage, self.calls.get(target.name, Usage())), listed))

    def ladder(self, kind: PricedKind) -> Ladder:
        """Return the ladder of jobs of this kind; the ledger does not say which requests had images.

        Where the rules leave the tier to each request, it is the weakest with the target that answered on its ladder;
        the weakest of all for a message whose answer is written down.
        """
        routes, plan = self.rules.routes, Plan(kind.plan) if kind.plan in set(Plan) else Plan.PAID
        named = self.rules.tasks.get(kind.task)
        if named is not None and named.critical:
            return routes.critical[plan]
        if of_task := routes.by_task.get((kind.task, plan)):
            return of_task
        tier = tier_of_task(kind.task, self.rules)
        if tier is not None:
            return routes.by_tier[tier, plan]
        ladders = [routes.by_tier[each, plan] for each in Tier]
        known = (each for each in ladders if kind.target in (PATTERN, *(target.name for target in each)))
        return next(known, ladders[-1])

    def clouds(self, kind: PricedKind) -> Ladder:
        return tuple(target for target in self.ladder(kind) if target.is_cloud)

    def next_rung(self, kind: PricedKind) -> Target | None:
        """Return the target that an answer which is not trusted would have gone on to."""
        rungs = self.ladder(kind)
        names = [target.name for target in rungs]
        place = names.index(kind.target) + 1 if kind.target in names else len(names)
        return rungs[place] if place < len(names) else None

    def is_own(self, target: str, answered: AnsweredJobs) -> bool:
        """Return whether the target is the fleet's own: as the ledger says, else as the catalogue does."""
        known = self.rules.catalogue.get(target)
        provider = answered.providers.get(target) or (None if known is None else known.provider)
        return provider == FLEET


def _cached_alike(usage: Usage, own: Usage) -> Usage:
    """Return the totals of a usage with the shares of cached and written input that `own` has."""
    if not own.input_tokens:
        return Usage(usage.input_tokens, usage.output_tokens)
    cached, written, for_an_hour = (
        usage.input_tokens * tokens // own.input_tokens
        for tokens in (own.cached_input_tokens, own.cache_write_tokens, own.cache_write_1h_tokens)
    )
    return Usage(usage.input_tokens, usage.output_tokens, cached, written, cache_write_1h_tokens=for_an_hour)
