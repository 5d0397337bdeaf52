"""The cost of attempts, before and after they are made."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.model.attempt import Attempt, Usage
from fleet.model.job import Job
from fleet.model.target import Target
from policies.features.needs import Needs
from policies.routing.tiers import own_provider
from policies.rules.rules import Rules


def is_charged(target: Target) -> bool:
    """Return whether somebody outside the fleet charges for a call, be it the fleet's or a tenant's."""
    return target.is_cloud and not target.free


def cost_usd(usage: Usage, target: Target) -> float:
    """Return the US dollars for this usage at the catalogue's prices, no matter who pays them."""
    return sum(tokens * price for tokens, price in priced(usage, target)) / 1e6


def priced(usage: Usage, target: Target) -> Iterable[tuple[int, float]]:
    """Return the kinds of tokens in this usage with their prices in US dollars per million."""
    plain = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    return (
        (plain, target.input_usd_per_million_tokens),
        (usage.cached_input_tokens, target.cached_input_usd),
        (usage.cache_write_tokens - usage.cache_write_1h_tokens, target.cache_write_usd),
        (usage.cache_write_1h_tokens, target.cache_write_1h_usd),
        (usage.output_tokens, target.output_usd_per_million_tokens),
    )


def own_key_for(job: Job, target: Target) -> str | None:
    """Return the tenant's secret that `target` is called with, as `<tenant>__<name>`; None: the fleet pays.

    The tenant is part of the name, so that no tenant can spend another's key by naming it.
    """
    if job.own_key is None or own_provider(job) != target.provider:
        return None
    return f"{job.tenant}__{job.own_key.partition('/')[2]}"


def estimated_usd(job: Job, needs: Needs, target: Target, rules: Rules) -> float:
    """Estimate what an attempt may cost the fleet: every requested output token is counted as used."""
    if own_key_for(job, target) is not None:
        return 0.0
    output_tokens = needs.output_tokens or rules.estimates.output_tokens
    return cost_usd(Usage(needs.input_tokens, output_tokens), target)


def spent_usd(attempts: Iterable[Attempt]) -> float:
    return sum(attempt.cost_usd for attempt in attempts)
