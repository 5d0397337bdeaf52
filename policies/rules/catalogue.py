"""The catalogue: every target the fleet may run, by name, and the providers of those outside it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from fleet.model.errors import ConfigError
from fleet.model.target import (
    FLEET,
    REGION,
    TARGET_NAME,
    WITHOUT_CALL,
    Capability,
    Effort,
    Provider,
    Reasoning,
    ServedAdapters,
    Serving,
    Target,
    WireFormat,
)
from policies.rules.providers import BUILT_IN, check_providers

_PRICES = (
    "input_usd_per_million_tokens",
    "output_usd_per_million_tokens",
    "cached_input_usd_per_million_tokens",
    "cache_write_usd_per_million_tokens",
    "cache_write_1h_usd_per_million_tokens",
)


TIER = re.compile(r"[a-z_]{1,32}")
"""Pattern of a tier of service, such as flex."""

WITH_BATCHES = frozenset({"openai", "anthropic", "groq"})
"""The providers whose batches are known."""

PRICE_DATE = re.compile(r"\d{4}-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?")
"""Pattern of a price date: a day, or a month where nobody knows it better."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Targets by name, in the order they were listed. Build it with `catalogue_of`, which checks them.

    `equals` has the names of all targets that give the same answers, by the name of each that has such an equal.
    `prices_as_of` is when the prices were looked up, as YYYY-MM-DD or YYYY-MM; None where the file does not say.
    """

    targets: Mapping[str, Target]
    providers: Mapping[str, Provider]
    prices_as_of: str | None = None
    equals: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def get(self, name: str) -> Target | None:
        return self.targets.get(name)

    def original(self, target: Target) -> Target:
        """Return the target whose answers this one gives: itself, but for one that is the same as another."""
        return target if target.same_as is None else self.targets[target.same_as]

    def same(self, names: Iterable[str]) -> frozenset[str]:
        """Return the names of all targets that give the same answers as one of these, themselves included."""
        given = frozenset(names)
        return given.union(*(self.equals[name] for name in given if name in self.equals)) if self.equals else given

    @property
    def regions(self) -> frozenset[str]:
        """The regions that are stated; any other name is a mistake."""
        stated = {target.region for target in self.targets.values()}
        stated |= {provider.region for provider in self.providers.values()}
        return frozenset(region for region in stated if region is not None)

    def of_provider(self, provider: str) -> tuple[Target, ...]:
        """Return every target of `provider`, cheapest output first."""
        mine = (target for target in self.targets.values() if target.provider == provider)
        return tuple(sorted(mine, key=lambda target: target.output_usd_per_million_tokens))


def with_adapters(catalogue: Catalogue, names: Iterable[str]) -> Catalogue:
    """Return the catalogue with these of the fleet's own targets taking adapters, as many as by default.

    What a row says of its adapters stays. Raises: ConfigError if one is no such target.
    """
    own = {name: target for name, target in catalogue.targets.items() if not target.is_cloud}
    targets = dict(catalogue.targets)
    for name in names:
        if (target := own.get(name)) is None:
            raise ConfigError("adapters", f"{name!r} is none of the fleet's own models: {', '.join(own)}")
        targets[name] = replace(target, adapters=target.adapters or ServedAdapters())
    return replace(catalogue, targets=targets)


def catalogue_of(
    targets: Iterable[Target], providers: Mapping[str, Provider] = BUILT_IN, prices_as_of: str | None = None
) -> Catalogue:
    """Build a catalogue whose names are distinct subject tokens and whose numbers make sense.

    Raises: ConfigError, whose field is `targets.<name>.<field>`, `providers.<name>.<field>` or `prices_as_of`.
    """
    check_providers(providers)
    if prices_as_of is not None and not PRICE_DATE.fullmatch(prices_as_of):
        raise ConfigError("prices_as_of", "must be a date as YYYY-MM-DD, or a month as YYYY-MM")
    listed: dict[str, Target] = {}
    for target in targets:
        _check(target, f"targets.{target.name}")
        if target.name in listed:
            raise ConfigError(f"targets.{target.name}.name", "is listed twice")
        listed[target.name] = _placed(target, providers)
    for target in listed.values():
        _check_same(target, listed)
    return Catalogue(MappingProxyType(listed), MappingProxyType(dict(providers)), prices_as_of, _equals(listed))


def _equals(listed: Mapping[str, Target]) -> Mapping[str, frozenset[str]]:
    groups: dict[str, set[str]] = {}
    for target in listed.values():
        if target.same_as is not None:
            groups.setdefault(target.same_as, {target.same_as}).add(target.name)
    return MappingProxyType({name: frozenset(group) for group in groups.values() for name in group})


def _placed(target: Target, providers: Mapping[str, Provider]) -> Target:
    """Return the target with its provider's region, unless it has one of its own.

    Raises: ConfigError if its provider is unknown.
    """
    known = providers.get(target.provider, Provider() if target.provider == FLEET else None)
    if known is None:
        rule = f"must be one of {', '.join(sorted({FLEET, *providers}))}, or an entry of its own under `providers`"
        raise ConfigError(f"targets.{target.name}.provider", rule)
    if target.service_tier is not None:
        _check_tier(target, known, f"targets.{target.name}.service_tier")
    return target if target.region is not None else replace(target, region=known.region)


def _check_same(target: Target, listed: Mapping[str, Target]) -> None:
    path, original = f"targets.{target.name}.same_as", listed.get(target.same_as or "")
    if target.same_as is None:
        return
    if original is None or original is target:
        raise ConfigError(path, "must be another target of the catalogue")
    if original.same_as is not None:
        raise ConfigError(path, f"must be an original: {original.name} is the same as {original.same_as} itself")
    if not (target.is_cloud and original.is_cloud):
        raise ConfigError(path, "belongs to targets of providers, and names one")


def _check_tier(target: Target, provider: Provider, path: str) -> None:
    if target.is_batched:
        if target.provider not in WITH_BATCHES:
            raise ConfigError(path, f"batch belongs to targets of {', '.join(sorted(WITH_BATCHES))}")
        if target.same_as is None:
            raise ConfigError(path, "batch belongs to a target that is the `same_as` another")
    elif not target.is_cloud or provider.wire is WireFormat.ANTHROPIC:
        raise ConfigError(path, "belongs to targets of providers that speak the OpenAI format")
    if not TIER.fullmatch(target.service_tier or ""):
        raise ConfigError(path, f"must match {TIER.pattern}")


def _check(target: Target, path: str) -> None:
    if not TARGET_NAME.fullmatch(target.name):
        raise ConfigError(f"{path}.name", f"must match {TARGET_NAME.pattern}")
    if target.name in WITHOUT_CALL:
        raise ConfigError(f"{path}.name", "is what results call an answer that no model gave")
    for name in ("provider", "model"):
        if not getattr(target, name):
            raise ConfigError(f"{path}.{name}", "must not be empty")
    if target.region is not None and not REGION.fullmatch(target.region):
        raise ConfigError(f"{path}.region", f"must match {REGION.pattern}")
    for name in (*_PRICES, "batch_wait_seconds"):
        value = getattr(target, name)
        if value is not None and not 0 <= value < math.inf:
            raise ConfigError(f"{path}.{name}", "must be zero or more, and finite")
    prices = (target.input_usd_per_million_tokens, target.output_usd_per_million_tokens)
    if target.is_cloud and not any(prices) and not target.free:
        # No limit could be kept with a price nobody knows.
        raise ConfigError(f"{path}.output_usd_per_million_tokens", "must be known; `free: true` says that it is zero")
    for name in ("context_tokens", "max_in_flight", "batch_size", "timeout_seconds"):
        if not 0 < getattr(target, name) < math.inf:
            raise ConfigError(f"{path}.{name}", "must be more than zero, and finite")
    if target.serving is not None:
        _check_serving(target, target.serving, f"{path}.serving")
    if target.reasoning is not None:
        _check_reasoning(target, target.reasoning, f"{path}.reasoning")
    if target.adapters is not None and target.is_cloud:
        raise ConfigError(f"{path}.adapters", f"belongs to targets of provider {FLEET}")
    if target.adapters is not None and target.adapters.at_once < 1:
        raise ConfigError(f"{path}.adapters.at_once", "must be at least 1")
    if target.adapters is not None and not 0 < target.adapters.speed <= 1:
        raise ConfigError(f"{path}.adapters.speed", "must be more than 0, and at most 1")


def _check_serving(target: Target, serving: Serving, path: str) -> None:
    if target.is_cloud:
        raise ConfigError(path, f"belongs to targets of provider {FLEET}")
    if not 0 < serving.tokens_per_second < math.inf:
        raise ConfigError(f"{path}.tokens_per_second", "must be more than zero, and finite")
    for name in ("cold_seconds", "usd_per_hour"):
        if not 0 <= getattr(serving, name) < math.inf:
            raise ConfigError(f"{path}.{name}", "must be zero or more, and finite")


def _check_reasoning(target: Target, reasoning: Reasoning, path: str) -> None:
    if Capability.REASONING not in target.capabilities:
        raise ConfigError(path, "needs `reasoning` among the capabilities")
    if not 0 <= reasoning.tokens < target.context_tokens:
        raise ConfigError(f"{path}.tokens", "must be zero or more, and less than context_tokens")
    if not reasoning.with_tools and Effort.NONE not in reasoning.efforts:
        raise ConfigError(f"{path}.efforts", "must hold none where with_tools is false")
