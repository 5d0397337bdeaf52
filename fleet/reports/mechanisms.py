"""Values each mechanism by what it saved: the cost without it, all others as they are, less the cost with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from fleet.model.attempt import Usage
from fleet.model.money import NanoUsd
from fleet.model.target import Target
from fleet.reports.answered import AnsweredBatch, AnsweredJobs, PricedKind, count_of
from fleet.reports.pricing import Pricing
from policies.budget import priced
from policies.money import cost_of
from policies.rules.sections import CacheMode


class Basis(StrEnum):
    """The certainty of a figure."""

    EXACT = "exact"
    """From the ledger's own tokens and the price list."""
    ESTIMATE = "estimate"
    """The tokens another model would have used are taken to be those of the answer that was delivered."""
    RANGE = "range"
    """Between two cases, neither of which was tried."""
    UNKNOWN = "unknown"
    """The ledger cannot tell."""
    ABSENT = "absent"
    """This version, or this configuration, has no such mechanism."""


@dataclass(frozen=True, slots=True)
class Mechanism:
    """A mechanism and what it saved: between `low` and `high`, which are one number unless the basis is RANGE.

    `jobs` counts those that it decided; None for one that works on calls.
    """

    name: str
    title: str
    basis: Basis
    low: NanoUsd | None
    high: NanoUsd | None
    without: str
    """The case it is compared with, or why nothing is known."""
    jobs: int | None = None

    def as_json(self) -> dict[str, Any]:
        found = asdict(self)
        return {("saved_" + name + "_nano_usd" if name in ("low", "high") else name): found[name] for name in found}


AT_FULL_PRICE = "every input token at its full price"


def mechanisms(answered: AnsweredJobs, pricing: Pricing) -> tuple[Mechanism, ...]:
    """Return every mechanism, left out one at a time. They overlap, so that their savings do not add up."""
    found = (
        _patterns,
        _exact_cache,
        _together,
        _semantic_cache,
        _confidence,
        _own_models,
        _provider_caches,
        _service_tiers,
        _batches,
        _second_looks,
        _router,
        _comparisons,
        _trimming,
    )
    caches = _caches_by_provider(answered, pricing)
    return (*(each(answered, pricing) for each in found), *caches)


def _patterns(answered: AnsweredJobs, pricing: Pricing) -> Mechanism:
    if not answered.written and not pricing.rules.patterns.lists:
        return Mechanism("pattern_answers", "Pattern answers", Basis.ABSENT, 0, 0, "the rules have no list", 0)
    saved = sum(pricing.of(batch.usage, pricing.ladder(kind)[0]) for kind, batch in answered.written.items())
    without = "the first target of each job's ladder answers, with the tokens that its request and its answer have"
    return _estimated("pattern_answers", "Pattern answers", saved, without, count_of(answered.written))


def _exact_cache(answered: AnsweredJobs, pricing: Pricing) -> Mechanism:
    rules = pricing.rules
    if not answered.cached and all(task.cache is CacheMode.OFF for task in rules.tasks.values()):
        return Mechanism("exact_cache", "Exact cache", Basis.ABSENT, 0, 0, "switched off in the rules", 0)
    saved = sum(_asked_again(kind, batch, pricing) for kind, batch in answered.cached.items())
    without = "the target that gave the answer gives it again, with as many tokens"
    return _estimated("exact_cache", "Exact cache", saved, without, count_of(answered.cached))


def _together(answered: AnsweredJobs, pricing: Pricing) -> Mechanism:
    if not answered.together and all(task.cache is CacheMode.OFF for task in pricing.rules.tasks.values()):
        return Mechanism("together", "Equal jobs answered together", Basis.ABSENT, 0, 0, "switched off in the rules", 0)
    saved = sum(_asked_again(kind, batch, pricing) for kind, batch in answered.together.items())
    without = "each of the jobs that waited for an equal one is a call of its own"
    return _estimated("together", "Equal jobs answered together", saved, without, count_of(answered.together))


def _semantic_cache(answered: AnsweredJobs, pricing: Pricing) -> Mechanism:
    if not answered.similar and not pricing.rules.cache.semantic.is_used:
        return Mechanism("semantic_cache", "Semantic cache", Basis.ABSENT, 0, 0, "switched off in the rules", 0)
    saved = sum(_asked_again(kind, batch, pricing) for kind, batch in answered.similar.items())
    without = "the target that gave the answer answers the question, with as many tokens"
    return _estimated("semantic_cache", "Semantic cache", saved, without, count_of(answered.similar))


def _asked_again(kind: PricedKind, batch: AnsweredBatch, pricing: Pricing) -> NanoUsd:
    """Return the price at the target that gave the answers; at the first of the ladder if it is gone since."""
    return pricing.of(batch.usage, pricing.catalogue.get(kind.target) or pricing.ladder(kind)[0])


def _confidence(answered: AnsweredJobs, pricing: Pricing) -> Mechanism:
    straight = sum(pricing.of(batch.usage, pricing.ladder(kind)[-1]) for kind, batch in answered.jobs.items())
    saved = straight - answered.cost.total()
    without = "each job goes straight to the last target of its ladder"
    kept = answered.kept.total()
    return _estimated("confidence", "Keeping confident answers of cheaper targets", saved, without, kept)


def _own_models(answered: AnsweredJobs, pricing: Pricing) -> Mechanism:
    title = "The fleet's own models"
    own = {kind: batch for kind, batch in answered.jobs.items() if pricing.is_own(kind.target, answered)}
    jobs = count_of(own)
    spent = sum(cost for target, cost in answered.cost.items() if pricing.is_own(target, answered))
    if any(not pricing.clouds(kind) for kind in own):
        return Mechanism("own_models", title, Basis.UNKNOWN, None, None, "some ladders have no cloud target", jobs)
    first, last = (
        sum(pricing.of(batch.usage, pricing.clouds(kind)[end]) for kind, batch in own.items()) - spent
        for end in (0, -1)
    )
    without = "what they answered is answered by the first, or by the last cloud target of its ladder"
    return Mechanism("own_models", title, Basis.RANGE, min(first, last), max(first, last), without, jobs)


def _provider_caches(answered: AnsweredJobs, pricing: Pricing) -> Mechanism:
    saved = sum(_saved_by_cache(target, usage) for target, usage in _cloud_calls(answered, pricing))
    return Mechanism("provider_cache", "Providers' prompt caches", Basis.EXACT, saved, saved, AT_FULL_PRICE)


def _caches_by_provider(answered: AnsweredJobs, pricing: Pricing) -> Iterator[Mechanism]:
    """Yield the part of each provider whose cache read or wrote something."""
    found = Counter[str]()
    for target, usage in _cloud_calls(answered, pricing):
        if usage.cached_input_tokens or usage.cache_write_tokens:
            found[target.provider] += _saved_by_cache(target, usage)
    for provider, saved in sorted(found.items()):
        name, title = f"provider_cache.{provider}", f"of these, the prompt cache of {provider}"
        yield Mechanism(name, title, Basis.EXACT, saved, saved, AT_FULL_PRICE)


def _saved_by_cache(target: Target, usage: Usage) -> NanoUsd:
    """Return what reads saved less what writes cost beyond plain input: negative where nobody read what was written."""
    plain = Usage(usage.input_tokens, usage.output_tokens)
    return cost_of(priced(plain, target)) - cost_of(priced(usage, target))


def _service_tiers(answered: AnsweredJobs, pricing: Pricing) -> Mechanism:
    name, title, saved = "service_tiers", "Cheaper tiers and providers of the same model", 0
    for target, usage in _cloud_calls(answered, pricing):
        if target.is_batched or (target.service_tier is None and target.same_as is None):
            continue
        usual = _usual(target, pricing)
        if usual is None:
            why = f"the price list has no row for {target.model} without a service tier"
            return Mechanism(name, title, Basis.UNKNOWN, None, None, why)
        saved += cost_of(priced(usage, usual)) - cost_of(priced(usage, target))
    return Mechanism(name, title, Basis.EXACT, saved, saved, "the same calls at the price of the usual target")


def _batches(answered: AnsweredJobs, pricing: Pricing) -> Mechanism:
    name, title = "batch_files", "Providers' batches"
    calls = [(target, usage) for target, usage in _cloud_calls(answered, pricing) if target.is_batched]
    if not calls and not pricing.rules.discounts.batch:
        return Mechanism(name, title, Basis.ABSENT, 0, 0, "switched off in the rules")
    usual = sum(cost_of(priced(usage, pricing.catalogue.original(target))) for target, usage in calls)
    # What was booked there, and not what the tokens cost: rows that were given up are paid for as well.
    saved = usual - sum(cost for target, cost in answered.cost.items() if _is_batched(target, pricing))
    return Mechanism(name, title, Basis.EXACT, saved, saved, "the answers of batches are calls of the usual target")


def _is_batched(name: str, pricing: Pricing) -> bool:
    target = pricing.catalogue.get(name)
    return target is not None and target.is_batched


def _usual(target: Target, pricing: Pricing) -> Target | None:
    if target.same_as is not None:
        return pricing.catalogue.original(target)
    alike = (each for each in pricing.catalogue.of_provider(target.provider) if each.model == target.model)
    return next((each for each in alike if each.service_tier is None), None)


def _cloud_calls(answered: AnsweredJobs, pricing: Pricing) -> Iterator[tuple[Target, Usage]]:
    """Yield the tokens of all calls of each cloud target on the price list."""
    for name, usage in answered.calls.items():
        target = pricing.catalogue.get(name)
        if target is not None and target.is_cloud:
            yield target, usage


def _second_looks(answered: AnsweredJobs, pricing: Pricing) -> Mechanism:
    gone_on = sum(_next_price(kind, batch, pricing) for kind, batch in answered.looked.items())
    without = "an answer accepted after a second look goes on to the next target, and no look is paid"
    return _estimated("second_looks", "Second looks", gone_on - answered.looks, without, count_of(answered.looked))


def _next_price(kind: PricedKind, batch: AnsweredBatch, pricing: Pricing) -> NanoUsd:
    target = pricing.next_rung(kind)
    return 0 if target is None else pricing.of(batch.usage, target)


def _router(answered: AnsweredJobs, pricing: Pricing) -> Mechanism:
    if not pricing.rules.router.enabled:
        return Mechanism("learned_router", "Learned router", Basis.ABSENT, 0, 0, "switched off in the rules")
    why = "whether the small model would have sufficed is not known: it was not asked"
    return Mechanism("learned_router", "Learned router", Basis.UNKNOWN, None, None, why)


def _comparisons(answered: AnsweredJobs, pricing: Pricing) -> Mechanism:
    cost = -answered.comparisons
    without = "no comparisons with stronger targets, and so no figure of quality"
    return Mechanism("comparisons", "Shadow comparisons", Basis.EXACT, cost, cost, without)


def _trimming(answered: AnsweredJobs, pricing: Pricing) -> Mechanism:
    name, title = "trimming", "Trimmed threads and tools"
    if not answered.left_out and all(task.diet.is_off for task in pricing.rules.tasks.values()):
        return Mechanism(name, title, Basis.ABSENT, 0, 0, "switched off in the rules")
    known = [(pricing.catalogue.get(target), tokens) for target, tokens in answered.left_out.items()]
    whole = sum(pricing.of(Usage(tokens, 0), target) for target, tokens in known if target is not None)
    saved = whole - answered.restored
    without = "old turns and unused tools are sent, at the price of input there, and no call is made again for tools"
    return Mechanism(name, title, Basis.ESTIMATE, saved, saved, without)


def _estimated(name: str, title: str, saved: NanoUsd, without: str, jobs: int) -> Mechanism:
    return Mechanism(name, title, Basis.ESTIMATE, saved, saved, without, jobs)
