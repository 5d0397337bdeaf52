"""The lessons of recorded runs: the speed of each target, and its confidence in its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fleet.lab.simulation.targets.pool import PROMPT_WORK, Pace
from fleet.lab.simulation.workload.ability import DRAWS, SimulatedVerdict
from fleet.lab.simulation.workload.crowd import Array
from fleet.lab.simulation.workload.trace import Trace, span
from fleet.model.errors import ConfigError
from policies.rules.rules import Rules

FEWEST_ATTEMPTS = 20
"""Minimum attempts on a target to say how fast it is."""

LEAST_SECONDS = 1e-3

MOMENTS = 200
"""Number of moments at which a run's speed is measured."""

FASTEST = 0.05
"""Quantile of the attempts taken to have run next to alone: a lone job's step is no longer than theirs."""

KNEES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""Numbers of concurrent jobs tried as those that reach half of a replica's maximum speed."""

CONTENTIONS = tuple(step / 20 for step in range(21))

Looks = Array
"""Four rows: running jobs, work per second, seconds per token of the fastest attempts, busy targets."""


@dataclass(frozen=True, slots=True)
class FittedModels:
    """Each target's speed, the cost of being busy together, and the targets' confidence in answers to each task."""

    paces: dict[str, Pace]
    contention: float
    answers: dict[tuple[str, str], tuple[SimulatedVerdict, ...]]


def learn(traces: Sequence[Trace], rules: Rules, share: float = 1.0) -> FittedModels:
    """Learn from the attempts that ended in the first `share` of each run's time. Raises: ConfigError if too few."""
    answers: dict[tuple[str, str], list[SimulatedVerdict]] = {}
    for trace in traces:
        until = _until(trace, share)
        for job in trace:
            for each in job.attempts:
                if each.ended_at <= until and each.output_tokens:
                    answers.setdefault((each.target, job.task), []).append(
                        SimulatedVerdict(each.confidence, each.judged, DRAWS)
                    )
    lines, contention = fitted(looks_at(traces, rules, share))
    paces = {name: Pace(*line, rules.catalogue.targets[name].max_in_flight) for name, line in lines.items()}
    return FittedModels(paces, contention, {key: tuple(verdicts) for key, verdicts in answers.items()})


def looks_at(traces: Sequence[Trace], rules: Rules, share: float = 1.0) -> dict[str, Looks]:
    """Return what is seen of each target during the first `share` of each run's time. Raises: like `learn`."""
    looks: dict[str, list[Looks]] = {}
    for trace in traces:
        start, _ = span(trace)
        for name, seen in _looks(trace, start, _until(trace, share)).items():
            if name not in rules.catalogue.targets:
                raise ConfigError(f"replay.{name}", "is not in the catalogue")
            looks.setdefault(name, []).append(seen)
    return {name: np.concatenate(parts, axis=1) for name, parts in looks.items()}


def _until(trace: Trace, share: float) -> float:
    start, end = span(trace)
    return start + share * (end - start)


def _looks(trace: Trace, start: float, until: float) -> dict[str, Looks]:
    """Measure each target at many moments while it runs something.

    An attempt is taken to have done its work evenly while it ran. One that ended after `until` is only known to run;
    it counts like the others.
    """
    moments = start + (np.arange(MOMENTS) + 0.5) * (until - start) / MOMENTS
    found: dict[str, tuple[Array, Array, Array]] = {}
    for name in sorted({each.target for job in trace for each in job.attempts}):
        attempts = [each for job in trace for each in job.attempts if each.target == name]
        times = np.array([(each.started_at, each.ended_at) for each in attempts])
        work = np.array([each.output_tokens + PROMPT_WORK * each.input_tokens for each in attempts])
        known = (times[:, 1] <= until) & (work > 0)
        if known.sum() < FEWEST_ATTEMPTS:
            rule = f"needs {FEWEST_ATTEMPTS} finished attempts to learn from, has {known.sum()}"
            raise ConfigError(f"replay.{name}", rule)
        rates = np.where(known, work / np.maximum(times[:, 1] - times[:, 0], LEAST_SECONDS), 0.0)
        running = (times[:, :1] <= moments) & (moments < times[:, 1:])
        counts, measured = running.sum(axis=0), (running & known[:, None]).sum(axis=0)
        whole = (running * rates[:, None]).sum(axis=0) * counts / np.maximum(measured, 1)
        fastest = np.full(MOMENTS, np.quantile(1 / rates[known], FASTEST))
        found[name] = counts.astype(np.float64), np.where(measured > 0, whole, np.nan), fastest
    busy = np.sum([counts > 0 for counts, _, _ in found.values()], axis=0).astype(np.float64)
    looks = {name: np.stack([counts, rates, fastest, busy]) for name, (counts, rates, fastest) in found.items()}
    return {name: each[:, (each[0] > 0) & np.isfinite(each[1])] for name, each in looks.items()}


def fitted(looks: Mapping[str, Looks]) -> tuple[dict[str, tuple[float, float]], float]:
    """Fit seconds per step, and those of each job in it, by target, and the contention of all, by least squares.

    A search tries the knees and contentions. Each line is scaled to do as much in all these moments together as was
    done: how long a run takes depends on how much is done while there is much to do.
    """

    def lines(contention: float) -> tuple[float, dict[str, tuple[float, float]]]:
        each = {name: _line(look, contention) for name, look in looks.items()}
        return sum(error for error, _ in each.values()), {name: line for name, (_, line) in each.items()}

    contention = min(CONTENTIONS, key=lambda tried: lines(tried)[0])
    return lines(contention)[1], contention


def _line(look: Looks, contention: float) -> tuple[float, tuple[float, float]]:
    """Return the squared error, as a part of the squares, and the two numbers of the line."""
    counts, rates, fastest, busy = look
    best: tuple[float, tuple[float, float]] = (np.inf, (0.0, 0.0))
    for knee in KNEES:
        shape = counts / (knee + counts) / (1 + contention * (busy - 1))
        most = float(np.sum(rates) / np.sum(shape))
        error = float(np.sum((rates - most * shape) ** 2) / np.sum(rates**2))
        if knee / most <= fastest.mean():
            best = min(best, (error, (knee / most, 1 / most)))
    return best
