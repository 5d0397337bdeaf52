"""The simulations that `fleet simulate` sets beside each other: scenarios, each under some rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fleet.lab.simulation.workload.files import load_scenario
from fleet.lab.simulation.workload.scenario import Scenario
from fleet.settings.documents import load_rules, read_document
from policies.rules.rules import Rules

RULES_HAVE = "phases"
"""The section that every file of rules has, and no scenario."""


@dataclass(frozen=True, slots=True)
class Documents:
    """The operator's files; None: the shipped one."""

    rules: Path | None = None
    catalogue: Path | None = None


@dataclass(frozen=True, slots=True)
class SimulatedCase:
    scenario: Scenario
    rules: Rules


def cases(scenario: str, compare: Sequence[str], documents: Documents) -> Iterator[SimulatedCase]:
    """Yield the scenario under the rules, then what it is compared with.

    Each of `compare` is another scenario, or a file of other rules for the first one. Of two files of rules, the first
    stands in for those that are in force.

    Raises: ConfigError if a file cannot be used.
    """
    others = [Path(each) if _holds_rules(each) else each for each in compare]
    if len(others) == 2 and all(isinstance(each, Path) for each in others):
        yield from (_case(scenario, each, documents, named=True) for each in others)
        return
    yield _case(scenario, documents.rules, documents, named=any(isinstance(each, Path) for each in others))
    for each in others:
        if isinstance(each, Path):
            yield _case(scenario, each, documents, named=True)
        else:
            yield _case(each, documents.rules, documents)


def _holds_rules(given: str) -> bool:
    path = Path(given)
    return path.suffix in (".yaml", ".yml") and path.is_file() and RULES_HAVE in read_document(path)


def _case(name: str, rules: str | Path | None, documents: Documents, named: bool = False) -> SimulatedCase:
    scenario = load_scenario(name)
    path = None if rules is None else Path(rules)
    if named:
        scenario = replace(scenario, title=f"{scenario.title}, {'the shipped rules' if path is None else path.name}")
    return SimulatedCase(scenario, load_rules(path, documents.catalogue, scenario.profile))


def change(before: Mapping[str, Any], after: Mapping[str, Any]) -> Mapping[str, float]:
    """Return by how much each figure of the second simulation is larger than that of the first."""
    return {key: after[key] - value for key, value in before.items() if isinstance(value, int | float)}
