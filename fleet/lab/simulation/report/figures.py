"""The cost tables of docs/explanation/cost-models.md: five documents' claims beside simulated costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from fleet.lab.simulation.simulate import SimulationReport, simulate
from fleet.lab.simulation.workload.files import Figure, load_figures, scenario_of
from fleet.lab.simulation.workload.scenario import Scenario, check, hosted, in_force
from fleet.settings.documents import load_rules
from policies.rules.rules import Rules


@dataclass(frozen=True, slots=True)
class CostFigure:
    """A line of a cost table. `document_usd` and the others are dollars a month; ours is a simulated day times 30."""

    document: str
    what: str
    document_usd: tuple[float, float]
    right_usd: float | None
    ours_usd: float
    own_usd: float
    paid_usd: float
    quality: float
    jobs: int
    why: str

    def as_json(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def run(scenario: Scenario, jobs: int | None, seed: int, given: Rules | None = None) -> SimulationReport:
    """Run the scenario under the rules given, else the shipped ones. Raises: ConfigError naming field and rule."""
    rules = load_rules(None, None, scenario.profile) if given is None else given
    check(scenario, rules)
    rules = in_force(scenario, rules)
    return simulate(hosted(scenario, rules), rules, scenario.jobs if jobs is None else jobs, seed)


def rows(seed: int, jobs: int | None = None) -> Iterator[CostFigure]:
    """Yield every figure, with `jobs` from a smaller sample."""
    rules = load_rules(None, None, "gpu")
    for figure in load_figures():
        yield _row(figure, seed, jobs, rules)


def _row(figure: Figure, seed: int, jobs: int | None, rules: Rules) -> CostFigure:
    report = run(scenario_of(figure), jobs, seed, rules)
    return CostFigure(
        figure.document,
        figure.what,
        figure.usd,
        figure.right_usd,
        report.month_usd,
        report.month_own_usd,
        report.month_usd - report.month_own_usd,
        report.quality,
        report.jobs,
        figure.why,
    )
