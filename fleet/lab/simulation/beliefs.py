"""What is known of a fleet before rows run on it: its speeds, the lengths of its answers, and how sure it will be.

Either learned from recorded runs, and drawn from what these leave open; or assumed, from a scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol, TypeVar

import numpy as np

from fleet.lab.simulation.fitting import FittedModels, Looks, fitted, learn, looks_at
from fleet.lab.simulation.replay import answers_like, tuned
from fleet.lab.simulation.simulate import paces_of
from fleet.lab.simulation.targets.pool import Pace
from fleet.lab.simulation.workload.ability import DIFFICULTIES, Answers, answers_of
from fleet.lab.simulation.workload.crowd import tokens
from fleet.lab.simulation.workload.scenario import (
    ArrivalProcess,
    Kind,
    Length,
    Own,
    ScalingKind,
    ScalingSetup,
    Scenario,
    hosted,
)
from fleet.lab.simulation.workload.trace import Trace
from fleet.model.errors import ConfigError
from policies.rules.rules import Rules

BLOCK = 10
"""Attempts of a recorded run that are drawn together: neighbours tell nearly the same."""

RUN_SIGMA = 0.15
"""Standard deviation of the logarithm of a run's time over what was learned of its fleet.

Runs of one load differ by chance, and the simulator is not the fleet: of real runs of 3,000 jobs at once, each was
predicted from another within 15 % (`docs/explanation/simulation.md`).
"""

ASSUMED_SIGMA = 0.4
"""The same where nobody has measured the fleet, and the speeds are those of a scenario."""

Item = TypeVar("Item")

AT_ONCE = ArrivalProcess(jobs_per_second=1.0, at_once=True)


@dataclass(frozen=True, slots=True)
class DrawnFleet:
    """A fleet as it may be. `scenario` lacks the jobs; `answers` are those to kinds of these tasks."""

    scenario: Scenario
    paces: Mapping[str, Pace]
    answers: Callable[[Sequence[str]], Mapping[str, Answers]]
    output_tokens: Callable[[str, int], int]
    difficulty: Callable[[str], int]


class Belief(Protocol):
    def draw(self, rng: np.random.Generator) -> DrawnFleet: ...


class RecordedBelief:
    """Learned from runs of the fleet's own targets, each with the replicas that it had then."""

    def __init__(self, traces: Sequence[Trace], rules: Rules) -> None:
        """Raises: ConfigError if there is too little to learn from."""
        self._lengths = _lengths_by_task(traces)
        if not self._lengths[""]:
            raise ConfigError("recorded", "must have jobs that a target answered")
        self._learned = learn(traces, rules)
        self._looks = looks_at(traces, rules)
        adjusted = tuned(self._learned, traces, rules)
        self._factors = {
            name: pace.each_seconds / self._learned.paces[name].each_seconds for name, pace in adjusted.paces.items()
        }

    def draw(self, rng: np.random.Generator) -> DrawnFleet:
        lines, contention = fitted({name: _redrawn(look, rng) for name, look in self._looks.items()})
        slower = float(np.exp(RUN_SIGMA * rng.standard_normal()))
        paces = {}
        for name, (step_seconds, each_seconds) in lines.items():
            factor = self._factors[name] * slower
            paces[name] = Pace(step_seconds * factor, each_seconds * factor, self._learned.paces[name].sequences)
        verdicts = {key: _resampled(found, rng) for key, found in self._learned.answers.items()}
        lengths = {task: [*chain.from_iterable(_resampled(found, rng))] for task, found in self._lengths.items()}
        learned = FittedModels(paces, contention, verdicts)
        return DrawnFleet(
            scenario=_as_recorded(learned),
            paces=paces,
            answers=lambda tasks: {name: answers_like(name, tasks, learned) for name in paces},
            output_tokens=lambda task, limit: min(limit, _one_of(lengths.get(task) or lengths[""], rng)),
            difficulty=lambda task: 0,
        )


class AssumedBelief:
    """The targets of a scenario, with its figures for their speeds and for answers to the same tasks."""

    def __init__(self, scenario: Scenario, rules: Rules) -> None:
        """Raises: ConfigError if scenario and rules do not go together."""
        self._rules = rules
        self._scenario = replace(hosted(scenario, rules), arrivals=AT_ONCE)
        self._paces = paces_of(self._scenario, rules)
        self._kinds = {kind.task: kind for kind in scenario.mix}
        self._usual = Kind(1.0, "", Length(), Length(median=rules.estimates.output_tokens / 2, sigma=0.5))

    def draw(self, rng: np.random.Generator) -> DrawnFleet:
        def slower() -> float:
            return float(np.exp(ASSUMED_SIGMA * rng.standard_normal()))

        paces = {}
        for name, pace in self._paces.items():
            factor = slower()
            paces[name] = Pace(pace.step_seconds * factor, pace.each_seconds * factor, pace.sequences)
        paid = {
            name: replace(each, tokens_per_second=each.tokens_per_second / slower())
            for name, each in self._scenario.paid.items()
        }
        return DrawnFleet(
            scenario=replace(self._scenario, paid=paid),
            paces=paces,
            answers=lambda tasks: answers_of(self._scenario.answers, len(tasks), self._rules),
            output_tokens=lambda task, limit: min(limit, int(tokens(self._kind(task).output, 1, rng)[0])),
            difficulty=lambda task: self._difficulty(task, rng),
        )

    def _kind(self, task: str) -> Kind:
        return self._kinds.get(task, self._usual)

    def _difficulty(self, task: str, rng: np.random.Generator) -> int:
        low, high = self._kind(task).difficulty
        return min(DIFFICULTIES - 1, int((low + (high - low) * rng.random()) * DIFFICULTIES))


def _redrawn(look: Looks, rng: np.random.Generator) -> Looks:
    """Return as many attempts, drawn in blocks with replacement (Künsch 1989)."""
    size = len(look.work)
    starts = rng.integers(max(1, size - BLOCK + 1), size=-(-size // BLOCK))
    places = (starts[:, None] + np.arange(min(BLOCK, size))).ravel()[:size]
    return look.only(places)


def _as_recorded(learned: FittedModels) -> Scenario:
    return Scenario(
        title="forecast",
        jobs=1,
        arrivals=AT_ONCE,
        mix=(),
        own={name: Own((1, 1), pace.sequences, pace.step_seconds) for name, pace in learned.paces.items()},
        scaling=ScalingSetup(by=ScalingKind.FIXED),
        dispatchers=1,
        contention=learned.contention,
    )


def _lengths_by_task(traces: Sequence[Trace]) -> dict[str, list[tuple[int, ...]]]:
    """Return the tokens of each job's answers by task, and under "" those to any."""
    found: dict[str, list[tuple[int, ...]]] = {"": []}
    for trace in traces:
        for job in trace:
            lengths = tuple(each.output_tokens for each in job.attempts if each.output_tokens)
            if lengths:
                found.setdefault(job.task, []).append(lengths)
                found[""].append(lengths)
    return found


def _resampled(found: Sequence[Item], rng: np.random.Generator) -> tuple[Item, ...]:
    """Return as many of them, drawn with replacement (Efron 1979): what another run might have shown."""
    return tuple(found[place] for place in rng.integers(len(found), size=len(found)).tolist())


def _one_of(found: Sequence[int], rng: np.random.Generator) -> int:
    return found[int(rng.integers(len(found)))]
