"""Scenarios and rules without some of their mechanisms."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from fleet.lab.simulation.workload.mechanisms import Mechanisms
from fleet.lab.simulation.workload.scenario import Scenario
from fleet.lab.simulation.workload.study import SimulatedMechanism
from policies.caching.patterns import PatternRules
from policies.rules.rules import Rules
from policies.rules.sections import Phase


def without(scenario: Scenario, gone: Collection[SimulatedMechanism]) -> Scenario:
    """Return the scenario without these mechanisms, as far as they are its own.

    Those of the rules are left out by `at_full_price` and `straight`.
    """
    found = scenario.mechanisms
    for mechanism in gone:
        found = _without(found, mechanism)
    return replace(scenario, mechanisms=found)


def _without(mechanisms: Mechanisms, mechanism: SimulatedMechanism) -> Mechanisms:
    match mechanism:
        case SimulatedMechanism.ALONE:
            return replace(mechanisms, alone=False)
        case SimulatedMechanism.PATTERNS:
            return replace(mechanisms, patterns=PatternRules())
        case SimulatedMechanism.EXACT:
            return replace(mechanisms, exact=False)
        case SimulatedMechanism.COALESCING:
            return replace(mechanisms, coalesced=False)
        case SimulatedMechanism.SEMANTIC:
            return replace(mechanisms, semantic=None)
        case SimulatedMechanism.TOOLS:
            return replace(mechanisms, tools=False)
        case SimulatedMechanism.TRIMMING:
            return replace(mechanisms, trimming=False)
        case SimulatedMechanism.PROMPT_CACHE:
            return replace(mechanisms, prompt_caches=None)
        case SimulatedMechanism.DISCOUNTS:
            return replace(mechanisms, discounts=None)
        case SimulatedMechanism.ROUTING:
            return mechanisms


def at_full_price(rules: Rules) -> Rules:
    """Return rules that try no cheaper equal of a target."""
    return replace(rules, discounts=replace(rules.discounts, flex=False, providers=False, batch=False))


def straight(rules: Rules, target: str) -> Rules:
    """Return rules by which one target answers everything, whoever pays."""
    phase = Phase((target,), (target,), (target,), (target,), (target,))
    plans = {name: replace(plan, providers=None) for name, plan in rules.plans.items()}
    return replace(rules, phases=dict.fromkeys(rules.phases, phase), plans=plans)
