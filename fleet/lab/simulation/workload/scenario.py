"""A scenario: the input of a simulation, as plain values. `fleet.lab.simulation.workload.files` reads it from YAML."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import ClassVar

from fleet.lab.simulation.workload import mechanisms as sparing
from fleet.lab.simulation.workload.mechanisms import Mechanisms
from fleet.lab.simulation.workload.prompts import Parts, Prompts, parts_violations, prompts_violations
from fleet.lab.simulation.workload.study import Study
from fleet.lab.simulation.workload.study import violations as study_violations
from fleet.model.errors import ConfigError
from fleet.model.job import Lane, Plan, Tier
from policies.caching.patterns import violations as pattern_violations
from policies.rules.diet import violations as diet_violations
from policies.rules.rules import Rules
from policies.rules.sections import STRICT, Strict

HOUR_SECONDS = 3600.0
DAY_SECONDS = 86400.0


@dataclass(frozen=True, slots=True)
class ArrivalProcess:
    """A Poisson process of `jobs_per_second` on average.

    `daily_peak` is the maximum rate over the average, on a cosine with its top at `peak_hour`; 1 is flat. With
    `burst_factor` over 1 the rate is that many times higher during the first `burst_seconds` of every
    `burst_every_seconds`, which is part of the average. `at_once`: all jobs are there at the start.
    """

    jobs_per_second: float
    daily_peak: float = 1.0
    peak_hour: float = 14.0
    burst_factor: float = 1.0
    burst_seconds: float = 60.0
    burst_every_seconds: float = 3600.0
    at_once: bool = False

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class Length:
    """Tokens: log-normal with this median and this standard deviation of the logarithm, cut off at `min` and `max`.

    With `values` they are drawn instead, each as often as the others.
    """

    median: float = 100.0
    sigma: float = 0.0
    min: int = 1
    max: int = 8192
    values: tuple[int, ...] = ()

    __pydantic_config__: ClassVar[Strict] = STRICT

    @property
    def most(self) -> int:
        return max(self.values) if self.values else self.max


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job and its `share` of all, by weight.

    `difficulty` is drawn evenly from this range between 0 (easy) and 1 (hard). Without `prompts` no job asks what
    another one asked; without `parts` the whole prompt is the message.
    """

    share: float
    task: str
    input: Length
    output: Length
    lane: Lane = Lane.STANDARD
    plan: Plan = Plan.PAID
    tenant: str = "acme"
    tier: Tier | None = None
    difficulty: tuple[float, float] = (0.0, 1.0)
    deadline_seconds: float | None = None
    cloud: bool = True
    image: bool = False
    own_key: str | None = None
    prompts: Prompts | None = None
    parts: Parts | None = None

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class Own:
    """The hosting of one of the fleet's own targets.

    `replicas` are the minimum and the maximum; each runs up to `max_sequences` jobs at once, and one job alone takes
    `step_seconds` per answer token. On `spot` each replica is lost `losses_per_day` times a day.
    """

    replicas: tuple[int, int]
    max_sequences: int
    step_seconds: float
    spot: bool = False
    losses_per_day: float = 0.0

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage: no call gets through from `at_hours` on, for `hours`."""

    at_hours: float
    hours: float

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class Paid:
    """A target outside the fleet: seconds to the first token, then tokens per second; its limits and its outages."""

    seconds: float
    tokens_per_second: float
    requests_per_minute: int | None = None
    outages: tuple[Outage, ...] = ()

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class Ability:
    """The confidence of a target in answers to easy and to hard jobs, and its variation from job to job.

    `easy` and `hard` are medians of a confidence that is calibrated: of the answers with confidence c, the share c is
    right. `spread` is the standard deviation of its log-odds.
    """

    easy: float
    hard: float
    spread: float = 1.0

    __pydantic_config__: ClassVar[Strict] = STRICT


class ScalingKind(StrEnum):
    """The way of scaling. FLEET: `policies.scaling`. RAY_SERVE: Ray Serve's default. FIXED: always the minimum."""

    FLEET = "fleet"
    RAY_SERVE = "ray_serve"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True)
class ScalingSetup:
    """The scaling of own targets, decided every `every_seconds`. RAY_SERVE wants `ongoing` requests per replica."""

    by: ScalingKind = ScalingKind.FLEET
    ongoing: float = 32.0
    every_seconds: float = 5.0

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class Scenario:
    """The input of a simulation besides rules and catalogue.

    `phase` and `daily_usd` stand in for those of the rules. `spot_price` is a spot machine's price over one on demand.
    `jobs` is how many there are unless the command says otherwise. Where the own targets run on one machine, each that
    is busy makes the others slower by the part `contention`. `mechanisms` spare calls and tokens;
    `study` is what is asked of them.
    """

    title: str
    jobs: int
    arrivals: ArrivalProcess
    mix: tuple[Kind, ...]
    own: Mapping[str, Own] = field(default_factory=dict)
    paid: Mapping[str, Paid] = field(default_factory=dict)
    answers: Mapping[str, Ability] = field(default_factory=dict)
    scaling: ScalingSetup = ScalingSetup()
    profile: str = "gpu"
    phase: str | None = None
    daily_usd: float | None = None
    dispatchers: int = 4
    spot_price: float = 0.4
    contention: float = 0.0
    mechanisms: Mechanisms = field(default_factory=Mechanisms)
    study: Study = field(default_factory=Study)

    __pydantic_config__: ClassVar[Strict] = STRICT


def check(scenario: Scenario, rules: Rules) -> None:
    """Refuse a scenario that breaks a rule, alone or with `rules`. Raises: ConfigError naming field and rule."""
    for path, rule in _violations(scenario, rules):
        raise ConfigError(path, rule)


def _violations(scenario: Scenario, rules: Rules) -> Iterator[tuple[str, str]]:
    if not scenario.mix:
        yield "mix", "must have at least one kind of job"
    for path, value in _positive(scenario):
        if not 0 < value < math.inf:
            yield path, "must be more than zero, and finite"
    for place, kind in enumerate(scenario.mix):
        yield from _of_kind(f"mix.{place}", kind, rules)
    yield from _of_targets(scenario, rules)
    yield from _of_mechanisms(scenario.mechanisms, rules)
    for path, rule in study_violations(scenario.study):
        yield f"study.{path}", rule
    if scenario.study.all_cloud is not None and scenario.study.all_cloud not in scenario.paid:
        yield "study.all_cloud", f"must be one of `paid`: {', '.join(scenario.paid)}"
    for name, own in scenario.own.items():
        low, high = own.replicas
        if not 0 <= low <= high or high == 0:
            yield f"own.{name}.replicas", "must be the least and the most, in this order, and not all zero"
        if own.losses_per_day < 0:
            yield f"own.{name}.losses_per_day", "must be zero or more"
    if scenario.arrivals.daily_peak < 1 or scenario.arrivals.daily_peak > 2:
        yield "arrivals.daily_peak", "must be between 1 and 2: a cosine over the average cannot rise further"
    if scenario.arrivals.burst_factor < 1:
        yield "arrivals.burst_factor", "must be 1 or more"
    if scenario.contention < 0:
        yield "contention", "must be zero or more"
    if not 0 <= scenario.spot_price <= 1:
        yield "spot_price", "must be between 0 and 1"


def _of_kind(path: str, kind: Kind, rules: Rules) -> Iterator[tuple[str, str]]:
    if kind.task not in rules.tasks:
        yield f"{path}.task", f"{kind.task!r} is not among the tasks of the rules"
    for name, length in (("input", kind.input), ("output", kind.output)):
        if length.min > length.max:
            yield f"{path}.{name}.min", f"must not be over max, which is {length.max}"
        if length.min < 1 or any(value < 1 for value in length.values):
            yield f"{path}.{name}", "must be 1 or more"
        if length.sigma < 0 or length.median <= 0:
            yield f"{path}.{name}", "must have a median over zero and a sigma of zero or more"
    if not 0 <= kind.difficulty[0] <= kind.difficulty[1] <= 1:
        yield f"{path}.difficulty", "must be two numbers between 0 and 1, the lower first"
    if (kind.plan is Plan.OWN_KEY) != (kind.own_key is not None):
        yield f"{path}.own_key", "goes with plan own_key, and that plan with it"

    for name, found in (
        ("prompts", () if kind.prompts is None else prompts_violations(kind.prompts)),
        ("parts", () if kind.parts is None else parts_violations(kind.parts)),
    ):
        for field_name, rule in found:
            yield f"{path}.{name}.{field_name}", rule


def _of_mechanisms(mechanisms: Mechanisms, rules: Rules) -> Iterator[tuple[str, str]]:
    for path, rule in sparing.violations(mechanisms):
        yield f"mechanisms.{path}", rule
    for section in ("cache", "diet"):
        for task in getattr(mechanisms, section).keys() - rules.tasks.keys():
            yield f"mechanisms.{section}.{task}", "is not among the tasks of the rules"
    for task, diet in mechanisms.diet.items():
        for path, rule in diet_violations(diet):
            yield f"mechanisms.diet.{task}.{path}", rule
    if mechanisms.patterns is not None:
        for path, rule in pattern_violations(mechanisms.patterns, rules.tasks):
            yield f"mechanisms.patterns.{path}", rule
    for path, names in sparing.targets_named(mechanisms).items():
        for name in sorted(names):
            target = rules.catalogue.get(name)
            if target is None or not target.is_cloud:
                yield f"mechanisms.{path}", f"{name!r} is no target outside the fleet in the catalogue"


def _of_targets(scenario: Scenario, rules: Rules) -> Iterator[tuple[str, str]]:
    """Check that every target named is in the catalogue, on its side of the fleet's border, and able to answer."""
    for section, cloud, names in (("own", False, scenario.own), ("paid", True, scenario.paid)):
        for name in names:
            target = rules.catalogue.get(name)
            if target is None or target.is_cloud is not cloud:
                yield f"{section}.{name}", f"is no target {'outside' if cloud else 'of'} the fleet in the catalogue"
            elif not cloud and target.serving is None:
                yield f"{section}.{name}", "has no `serving` in the catalogue"
            if name not in scenario.answers:
                yield f"answers.{name}", "is missing"
    for name, ability in scenario.answers.items():
        if not 0 < ability.hard <= ability.easy < 1:
            yield f"answers.{name}.hard", "must be more than 0 and not over easy, which must be less than 1"
        if ability.spread < 0:
            yield f"answers.{name}.spread", "must be zero or more"
    if not scenario.own and not scenario.paid:
        yield "own", "or paid must name at least one target"


def _positive(scenario: Scenario) -> Iterator[tuple[str, float]]:
    yield "jobs", scenario.jobs
    yield "dispatchers", scenario.dispatchers
    for name in ("jobs_per_second", "burst_seconds", "burst_every_seconds"):
        yield f"arrivals.{name}", getattr(scenario.arrivals, name)
    for name in ("ongoing", "every_seconds"):
        yield f"scaling.{name}", getattr(scenario.scaling, name)
    for place, kind in enumerate(scenario.mix):
        yield f"mix.{place}.share", kind.share
        if kind.deadline_seconds is not None:
            yield f"mix.{place}.deadline_seconds", kind.deadline_seconds
    for target, own in scenario.own.items():
        yield f"own.{target}.max_sequences", own.max_sequences
        yield f"own.{target}.step_seconds", own.step_seconds
    for target, paid in scenario.paid.items():
        yield f"paid.{target}.seconds", paid.seconds
        yield f"paid.{target}.tokens_per_second", paid.tokens_per_second
        if paid.requests_per_minute is not None:
            yield f"paid.{target}.requests_per_minute", paid.requests_per_minute
    if scenario.daily_usd is not None:
        yield "daily_usd", scenario.daily_usd


def hosted(scenario: Scenario, rules: Rules) -> Scenario:
    """Return the scenario without own targets on no ladder of the phase in force: nobody would pay for them."""
    named = _on_ladders(rules)
    return replace(scenario, own={name: own for name, own in scenario.own.items() if name in named})


def left_out(scenario: Scenario, rules: Rules) -> list[str]:
    """Return the targets on the ladders in force that the scenario says nothing of: no job gets there."""
    named = _on_ladders(rules if scenario.phase is None else replace(rules, phase=scenario.phase))
    return sorted(named - scenario.answers.keys())


def _on_ladders(rules: Rules) -> set[str]:
    phase = rules.phases[rules.phase]
    named = {*phase.simple, *phase.medium, *phase.complex, *phase.critical, *phase.vision}
    return named.union(*phase.tasks.values())


def in_force(scenario: Scenario, rules: Rules) -> Rules:
    """Return the rules with the scenario's values in place of theirs. Raises: ConfigError.

    Ray Serve's default is taken as it comes: what is overloaded there stays where it is.
    """
    money = rules.money if scenario.daily_usd is None else replace(rules.money, daily_usd=scenario.daily_usd)
    overload = rules.overload
    if scenario.scaling.by is ScalingKind.RAY_SERVE:
        overload = replace(overload, lanes=frozenset())
    mechanisms = scenario.mechanisms
    tasks = {
        name: replace(task, cache=mechanisms.cache.get(name, task.cache), diet=mechanisms.diet.get(name, task.diet))
        for name, task in rules.tasks.items()
    }
    patterns = rules.patterns if mechanisms.patterns is None else mechanisms.patterns
    phase = scenario.phase or rules.phase
    return replace(rules, phase=phase, money=money, overload=overload, tasks=tasks, patterns=patterns)
