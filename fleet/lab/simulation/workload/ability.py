"""The targets' answers to jobs: how sure each target is, and whether the answer is right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from fleet.lab.simulation.workload.scenario import Ability
from fleet.model.attempt import Judged
from fleet.model.target import Capability, Target
from policies.rules.rules import Rules

DIFFICULTIES = 16
"""Number of grades of how hard a job is."""

LEVELS = 20
"""Levels of the grid, its middle points, that confidences are drawn on: a decision about one holds for many."""

DRAWS = 4096
"""Values of one random number: for the confidence, and again for whether the answer is right."""

_NORMAL = np.array([NormalDist().inv_cdf((draw + 0.5) / DRAWS) for draw in range(DRAWS)])

_MASK = (1 << 64) - 1


def _mixers(count: int) -> tuple[int, ...]:
    """Return odd numbers unrelated to each other: Knuth's linear congruential generator (MMIX)."""
    drawn = [0x9E3779B97F4A7C15]
    for _ in range(count - 1):
        drawn.append((drawn[-1] * 6364136223846793005 + 1442695040888963407) & _MASK)
    return tuple(each | 1 for each in drawn)


_MIXERS = _mixers(64)


@dataclass(frozen=True, slots=True)
class SimulatedVerdict:
    """An answer as it is judged; `right_below` of DRAWS such answers are right."""

    confidence: float | None
    judged: Judged | None = None
    right_below: int = 0


@dataclass(frozen=True, slots=True)
class Answers:
    """The index into `verdicts` of a target's answer, by kind of job, grade and draw."""

    verdicts: tuple[SimulatedVerdict, ...]
    by_kind: Sequence[Sequence[Sequence[int]]]


def hashed(bits: int, attempt: int) -> int:
    """Return 24 random bits for attempt number `attempt` of the job with these random bits: two draws.

    They are the high bits of its random number times a number of the attempt's own (multiplicative hashing).
    """
    return (bits * _MIXERS[attempt & 63] & _MASK) >> 40


def answers_of(abilities: Mapping[str, Ability], kinds: int, rules: Rules) -> dict[str, Answers]:
    return {name: _answers(rules.catalogue.targets[name], each, kinds, rules) for name, each in abilities.items()}


def _answers(target: Target, ability: Ability, kinds: int, rules: Rules) -> Answers:
    """Return the same answers for every kind of job; a target without log-probabilities shows its prior, if any."""
    levels = [(level + 0.5) / LEVELS for level in range(LEVELS)]
    shown: list[float | None] = list(levels)
    if Capability.LOGPROBS not in target.capabilities:
        shown = [rules.confidence.priors.get(target.name)] * LEVELS
    verdicts = tuple(SimulatedVerdict(shown[place], None, round(level * DRAWS)) for place, level in enumerate(levels))
    grades = [_grade((grade + 0.5) / DIFFICULTIES, ability) for grade in range(DIFFICULTIES)]
    return Answers(verdicts, [grades] * kinds)


def _grade(difficulty: float, ability: Ability) -> list[int]:
    """Return the level of each draw: normal log-odds around a median that falls with the difficulty."""
    middle = (1 - difficulty) * _log_odds(ability.easy) + difficulty * _log_odds(ability.hard)
    levels: npt.NDArray[np.int64] = (LEVELS / (1 + np.exp(-middle - ability.spread * _NORMAL))).astype(np.int64)
    chosen: list[int] = np.minimum(levels, LEVELS - 1).tolist()
    return chosen


def _log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))
