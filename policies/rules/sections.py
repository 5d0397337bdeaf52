"""The sections of `rules.yaml`, one frozen dataclass each.

`__pydantic_config__` tells pydantic, where it validates the file, to refuse unknown keys;
nothing here imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from fleet.model.calibration import Probe, ThresholdMode
from fleet.model.job import Lane, Tier
from policies.confidence.gates import Gate
from policies.rules.diet import NO_DIET, DietRules

Strict = dict[str, str]
STRICT: Strict = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class Phase:
    """A stage of the roll-out: a ladder of target names per tier and per special need, weakest first.

    `critical` serves critical jobs and `vision` those with images; `tasks` overrides the ladder
    of single tasks, which is where a model fine-tuned for a task is named.
    """

    simple: tuple[str, ...]
    medium: tuple[str, ...]
    complex: tuple[str, ...]
    critical: tuple[str, ...]
    vision: tuple[str, ...]
    tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    __pydantic_config__: ClassVar[Strict] = STRICT

    def of_tier(self, tier: Tier) -> tuple[str, ...]:
        match tier:
            case Tier.SIMPLE:
                return self.simple
            case Tier.MEDIUM:
                return self.medium
            case Tier.COMPLEX:
                return self.complex


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The confidence an answer needs to be delivered, per tier."""

    simple: float
    medium: float
    complex: float

    __pydantic_config__: ClassVar[Strict] = STRICT

    def of_tier(self, tier: Tier) -> float:
        match tier:
            case Tier.SIMPLE:
                return self.simple
            case Tier.MEDIUM:
                return self.medium
            case Tier.COMPLEX:
                return self.complex


@dataclass(frozen=True, slots=True)
class PlanRules:
    """Rules of one plan. `providers` are those the plan pays for; without it, every provider."""

    thresholds: Thresholds
    providers: frozenset[str] | None = None

    __pydantic_config__: ClassVar[Strict] = STRICT


class CacheMode(StrEnum):
    """The requests of a task whose answers are given again: none, those with temperature 0, or any."""

    OFF = "off"
    REPEATABLE = "repeatable"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Task:
    """Rules of one task. `tier` None: the complexity of the request decides. `critical` jobs take that ladder.

    `collect`: what is asked and answered goes to the content store, encrypted. `cache`: which answers are given again.
    `diet`: what its calls may leave out. `keep_from`: the confidence that an answer of a target needs, in place of the
    plan's or the calibration's; there is none in mode guarantee.
    """

    tier: Tier | None
    critical: bool = False
    collect: bool = False
    cache: CacheMode = CacheMode.OFF
    diet: DietRules = NO_DIET
    keep_from: Mapping[str, float] = field(default_factory=dict, hash=False)

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class Complexity:
    """Weights of the complexity score, its limits, and the words that show a trait (lower case)."""

    multi_turn: int
    needs_analysis: int
    needs_creativity: int
    personal_data: int
    long: int
    simple: int
    has_examples: int
    faq: int
    long_characters: int
    simple_characters: int
    medium_from: int
    complex_from: int
    analysis_words: frozenset[str]
    creativity_words: frozenset[str]
    personal_words: frozenset[str]
    example_words: frozenset[str]
    faq_openings: tuple[str, ...]

    __pydantic_config__: ClassVar[Strict] = STRICT


class ConfidenceMethod(StrEnum):
    """The log-probability feature of an answer that is read as its confidence."""

    MIN_PROBABILITY = "min_token_probability"
    MEAN_PROBABILITY = "mean_token_probability"
    SEQUENCE_PROBABILITY = "sequence_probability"


class Unfamiliar(StrEnum):
    """The treatment of an answer to a request unlike the labels: ask the next target, or go by the raw score."""

    ESCALATE = "escalate"
    RAW_SCORE = "raw_score"


@dataclass(frozen=True, slots=True)
class ConfidenceRules:
    """Rules of confidence. `mode` is the source of thresholds: `plans`, a share of escalations, a promised risk.

    `risk` and `delta` are the promise of mode guarantee, split evenly over the tiers of a route; `escalation_rate`
    is the wish of mode budget. `priors` are confidences of targets whose answers come without log-probabilities.
    `probes` names the second look a task's answers deserve within `grey_width` of their threshold.
    `unfamiliar` says what happens to answers to requests unlike all that a calibration has seen; mode guarantee,
    which promises nothing about them, always escalates them.
    """

    method: ConfidenceMethod
    mode: ThresholdMode = ThresholdMode.FIXED
    risk: float = 0.05
    delta: float = 0.10
    escalation_rate: float = 0.30
    gates: tuple[Gate, ...] = tuple(Gate)
    priors: Mapping[str, float] = field(default_factory=dict)
    probes: Mapping[str, Probe] = field(default_factory=dict)
    grey_width: float = 0.15
    unfamiliar: Unfamiliar = Unfamiliar.ESCALATE

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class RouterRules:
    """Rules of learned routers, which skip the first rung where it suffices with a probability below `skip_below`."""

    enabled: bool = False
    skip_below: float = 0.2

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class ShadowRules:
    """Shares of kept and of escalated jobs whose small model's answer is compared with a stronger one's.

    `cloud` allows comparisons by a target outside the fleet, which cost money.
    """

    kept: float = 0.01
    escalated: float = 0.02
    cloud: bool = False

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class RetryRules:
    """Rules of retries. `max_tries` bounds the tries on one target, `max_attempts` those of a job over all targets."""

    max_tries: int
    max_attempts: int
    base_seconds: float
    max_seconds: float

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class OverloadRules:
    """Rules of overload. A job of one of the `lanes` goes to a later rung if its own would take too long.

    Too long is more than the share `climb_at` of the time it has left; once one has gone, more than `return_at`.
    """

    lanes: frozenset[Lane] = frozenset(Lane)
    climb_at: float = 0.7
    return_at: float = 0.4

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """Rules of the breaker: opens after `failures` in a row, for `base_seconds`, doubled per trip to `max_seconds`."""

    failures: int
    base_seconds: float
    max_seconds: float

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Default deadlines per lane, in seconds after submission.

    With an answer in hand and less than `escalation_seconds` left, the job ends with that answer.
    """

    interactive_seconds: float
    standard_seconds: float
    bulk_seconds: float
    escalation_seconds: float

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class Estimates:
    """Numbers for guessing the size of a request before any engine has counted it."""

    characters_per_token: float
    tokens_per_image: int
    output_tokens: int

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    max_deliveries: int

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class Quota:
    """A tenant's maximum of jobs in flight, tokens per minute, jobs waiting, and files. None: no limit of its own."""

    in_flight: int | None = None
    tokens_per_minute: int | None = None
    queued: int | None = None
    files: int | None = None

    __pydantic_config__: ClassVar[Strict] = STRICT

    @property
    def counts_jobs(self) -> bool:
        """Return whether the tenant's jobs are counted, over all dispatchers."""
        return self.in_flight is not None or self.queued is not None


@dataclass(frozen=True, slots=True)
class QuotaRules:
    """Quotas per tenant. `default` applies to all but the `tenants` named, whose own quota replaces it whole."""

    default: Quota = Quota()
    tenants: Mapping[str, Quota] = field(default_factory=dict)

    __pydantic_config__: ClassVar[Strict] = STRICT

    def of(self, tenant: str) -> Quota:
        return self.tenants.get(tenant, self.default)


@dataclass(frozen=True, slots=True)
class Residency:
    """The regions and the providers where content may be processed. None: all; the fleet's own provider is `fleet`."""

    regions: frozenset[str] | None = None
    providers: frozenset[str] | None = None

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class ResidencyRules:
    """Residency per tenant. `default` applies to all but the `tenants` named, whose own replaces it whole."""

    default: Residency = Residency()
    tenants: Mapping[str, Residency] = field(default_factory=dict)

    __pydantic_config__: ClassVar[Strict] = STRICT

    def of(self, tenant: str) -> Residency:
        return self.tenants.get(tenant, self.default)


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """Rules of scaling. A backlog may take the share `headroom` of the time to its deadlines; beyond, it scales up.

    So do jobs that cannot wait for a start, once they arrive faster than `utilisation` of what the present replicas can
    do. Scaling down needs `settle_seconds` in which nothing asked for more; the last replica goes after `idle_seconds`
    without work. A dispatcher's report that is older than `stale_seconds` is ignored.
    """

    headroom: float = 0.5
    utilisation: float = 0.8
    settle_seconds: float = 30.0
    idle_seconds: float = 120.0
    stale_seconds: float = 15.0

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class MoneyRules:
    """Limits of what the fleet may spend outside per UTC day; `tenants` overrides `tenant_daily_usd` (None: no limit).

    From the share `alert_at` of a limit on, operators are told; from `cheap_at` on, only targets up to
    `cheap_usd_per_million_output_tokens` are used. `max_output_tokens` bounds the answer of a paid call whose job
    sets no bound, `max_tokens_per_image` is the maximum an image is counted as. A reservation that is older than
    `open_seconds` counts as spent.
    """

    daily_usd: float
    tenant_daily_usd: float | None
    alert_at: float
    cheap_at: float
    cheap_usd_per_million_output_tokens: float
    max_output_tokens: int
    max_tokens_per_image: int
    open_seconds: float
    tenants: Mapping[str, float] = field(default_factory=dict)

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class PrefixCacheRules:
    """Who shares the prefix caches of the fleet's own engines: all tenants if `shared`; `tenants` overrides it.

    A tenant that does not share reads only what it wrote, and nobody else does. `mark` is whether calls to providers
    are marked for the providers' caches where it pays; there each tenant's prompts are taken for themselves.
    """

    shared: bool = True
    tenants: Mapping[str, bool] = field(default_factory=dict)
    mark: bool = True

    __pydantic_config__: ClassVar[Strict] = STRICT

    def salt_of(self, tenant: str) -> str | None:
        """Return what an engine mixes into the keys of the tenant's blocks; None for one that shares them."""
        return None if self.tenants.get(tenant, self.shared) else tenant

    def scope_of(self, tenant: str) -> str | None:
        """Return whose prompts are taken together in providers' caches; None if no call is marked for them."""
        return tenant if self.mark else None
