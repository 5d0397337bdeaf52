"""What each mechanism of a simulated fleet saves: the same jobs with all of them, and without one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fleet.lab.simulation.report.figures import run
from fleet.lab.simulation.saving.leaving_out import at_full_price, straight, without
from fleet.lab.simulation.simulate import SimulationReport
from fleet.lab.simulation.workload.scenario import Scenario, check
from fleet.lab.simulation.workload.study import SimulatedMechanism, Step
from fleet.model.errors import ConfigError
from policies.rules.rules import Rules

GOOD_ENOUGH = 0.02
"""A model is good enough if its share of right answers is at most so much lower than the fleet's."""

NEEDS: Mapping[SimulatedMechanism, frozenset[SimulatedMechanism]] = {
    SimulatedMechanism.EXACT: frozenset({SimulatedMechanism.ALONE}),
    SimulatedMechanism.COALESCING: frozenset({SimulatedMechanism.ALONE, SimulatedMechanism.EXACT}),
    SimulatedMechanism.SEMANTIC: frozenset({SimulatedMechanism.ALONE, SimulatedMechanism.EXACT}),
}
"""What a mechanism has to have there to do anything at all."""


@dataclass(frozen=True, slots=True)
class SimulatedCost:
    """A simulated fleet: its dollars a month, the share of right answers, and of jobs that were answered at all."""

    name: str
    month_usd: float
    quality: float
    answered: float
    claimed_usd: float | None = None

    @property
    def holds(self) -> bool | None:
        """Whether it costs no more than claimed; None where nothing is claimed."""
        return None if self.claimed_usd is None else self.month_usd <= self.claimed_usd

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"holds": self.holds}


@dataclass(frozen=True, slots=True)
class SimulatedSaving:
    """What a mechanism saves, in shares of the bill before.

    `left_out` is what it saves beside all others, which is what the bill rises by without it; `by_itself` is what it
    saves where there is no other but those it needs. `quality` is what the share of right answers gains by it.
    """

    mechanism: SimulatedMechanism
    left_out: float
    by_itself: float
    quality: float
    claimed: float | None

    @property
    def holds(self) -> bool | None:
        """Whether it saves what is claimed, to the percent, by itself or beside all others; None without a claim."""
        return None if self.claimed is None else round(max(self.by_itself, self.left_out), 2) >= self.claimed

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"holds": self.holds}


@dataclass(frozen=True, slots=True)
class SimulatedSavings:
    """The report. `all_cloud` answers everything `before`, `good_enough` is the cheapest target that could."""

    title: str
    jobs: int
    prices_as_of: str | None
    all_cloud: str
    before: SimulatedCost
    steps: tuple[SimulatedCost, ...]
    good_enough: SimulatedCost | None
    mechanisms: tuple[SimulatedSaving, ...]
    without_call: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "before": self.before.as_json(),
            "steps": [each.as_json() for each in self.steps],
            "good_enough": None if self.good_enough is None else self.good_enough.as_json(),
            "mechanisms": [each.as_json() for each in self.mechanisms],
        }


class _Runs:
    """Simulates the scenario's jobs with some of its mechanisms; each combination once."""

    def __init__(self, scenario: Scenario, rules: Rules, jobs: int | None, seed: int) -> None:
        self._scenario, self._rules, self._jobs, self._seed = scenario, rules, jobs, seed
        self._known: dict[tuple[frozenset[SimulatedMechanism], str | None], SimulationReport] = {}
        self.all_cloud = scenario.study.all_cloud or _last_cloud(scenario, rules)

    def with_(self, on: Iterable[SimulatedMechanism], target: str | None = None) -> SimulationReport:
        """Return the report with these mechanisms; without ROUTING `target` answers, else the named cloud target."""
        there = frozenset(on)
        key = there, None if SimulatedMechanism.ROUTING in there else target or self.all_cloud
        if key not in self._known:
            scenario = without(self._scenario, [each for each in SimulatedMechanism if each not in there])
            rules = self._rules if SimulatedMechanism.DISCOUNTS in there else at_full_price(self._rules)
            rules = rules if key[1] is None else straight(rules, key[1])
            self._known[key] = run(scenario, self._jobs, self._seed, rules)
        return self._known[key]

    def cost(self, name: str, report: SimulationReport, claimed_usd: float | None = None) -> SimulatedCost:
        return SimulatedCost(name, report.month_usd, report.quality, report.answered / report.jobs, claimed_usd)


def savings(scenario: Scenario, rules: Rules, jobs: int | None, seed: int) -> SimulatedSavings:
    """Simulate the scenario without each of its mechanisms, and with each by itself.

    Raises: ConfigError if scenario and rules do not fit together, or there is nothing to compare with.
    """
    check(scenario, rules)
    runs = _Runs(scenario, rules, jobs, seed)
    full, nothing = runs.with_(SimulatedMechanism), runs.with_(())
    before = runs.cost("before", nothing)
    if not before.month_usd:
        raise ConfigError(
            "study.all_cloud", f"{runs.all_cloud} answers everything for nothing: there is nothing to save"
        )
    return SimulatedSavings(
        title=scenario.title,
        jobs=full.jobs,
        prices_as_of=rules.catalogue.prices_as_of,
        all_cloud=runs.all_cloud,
        before=before,
        steps=tuple(_step(step, runs, before.month_usd) for step in scenario.study.steps),
        good_enough=_good_enough(runs, scenario, full.quality),
        mechanisms=tuple(_saving(each, runs, scenario) for each in SimulatedMechanism),
        without_call=full.without_call,
    )


def _last_cloud(scenario: Scenario, rules: Rules) -> str:
    ladder = rules.phases[scenario.phase or rules.phase].complex
    found = next((name for name in reversed(ladder) if name in scenario.paid), None)
    if found is None:
        raise ConfigError("study.all_cloud", "is missing: no ladder for complex requests has a target of `paid`")
    return found


def _step(step: Step, runs: _Runs, before_usd: float) -> SimulatedCost:
    claimed_usd = None if step.claimed is None else before_usd * (1 - step.claimed)
    return runs.cost(step.name, runs.with_(step.mechanisms), claimed_usd)


def _good_enough(runs: _Runs, scenario: Scenario, quality: float) -> SimulatedCost | None:
    """Return the cheapest target that could answer everything nearly as well, without any mechanism."""
    alone = [runs.cost(name, runs.with_((), name)) for name in scenario.paid]
    good = (each for each in alone if each.quality >= quality - GOOD_ENOUGH)
    return min(good, key=lambda each: each.month_usd, default=None)


def _saving(mechanism: SimulatedMechanism, runs: _Runs, scenario: Scenario) -> SimulatedSaving:
    before = runs.with_(()).month_usd
    full, rest = (runs.with_([each for each in SimulatedMechanism if each not in gone]) for gone in ((), (mechanism,)))
    needed = NEEDS.get(mechanism, frozenset())
    base, added = runs.with_(needed), runs.with_({*needed, mechanism})
    return SimulatedSaving(
        mechanism,
        left_out=(rest.month_usd - full.month_usd) / before,
        by_itself=(base.month_usd - added.month_usd) / before,
        quality=full.quality - rest.quality,
        claimed=scenario.study.claims.get(mechanism),
    )
