"""The lessons of recorded runs: the speed of each target, and its confidence in its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from fleet.lab.simulation.targets.pool import PROMPT_WORK, Pace
from fleet.lab.simulation.workload.ability import DRAWS, SimulatedVerdict
from fleet.lab.simulation.workload.crowd import Array, Counts
from fleet.lab.simulation.workload.trace import RecordedAttempt, Trace, span
from fleet.model.errors import ConfigError
from policies.rules.rules import Rules

FEWEST_ATTEMPTS = 20
"""Minimum attempts on a target to say how fast it is."""

FASTEST = 0.05
"""Quantile of the attempts taken to have run next to alone: a lone job's step is no longer than theirs."""

KNEES = np.array([0.0, *(2.0 ** (power / 2) for power in range(-2, 21))])
"""Numbers of concurrent jobs tried as those that reach half of a replica's maximum speed."""

CONTENTIONS = tuple(step / 20 for step in range(21))


@dataclass(frozen=True, slots=True)
class Looks:
    """What runs show of a target: stretches of time in which nothing starts or ends, and the attempts made in them.

    Of each stretch the number of the target's `running` jobs, of `busy` targets, and its `seconds`. Of each attempt the
    stretches from `first` to before `last`, and the `work` done in them.
    """

    running: Array
    busy: Array
    seconds: Array
    first: Counts
    last: Counts
    work: Array

    def only(self, places: Counts) -> Looks:
        """Return what these attempts show, the same stretches among the same jobs."""
        return replace(self, first=self.first[places], last=self.last[places], work=self.work[places])

    def fastest(self) -> float:
        """Return the seconds per token of the fastest attempts."""
        return float(np.quantile(self.over(np.ones_like(self.seconds)) / self.work, FASTEST))

    def over(self, speeds: Array) -> Array:
        """Return the work of each attempt at these speeds, the last axis of which is the stretches."""
        done = np.zeros((*speeds.shape[:-1], len(self.seconds) + 1))
        np.cumsum(speeds * self.seconds, axis=-1, out=done[..., 1:])
        found: Array = done[..., self.last] - done[..., self.first]
        return found


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
        for name, seen in _looks(trace, _until(trace, share)).items():
            if name not in rules.catalogue.targets:
                raise ConfigError(f"replay.{name}", "is not in the catalogue")
            looks.setdefault(name, []).append(seen)
    return {name: _joined(parts) for name, parts in looks.items()}


def _joined(parts: Sequence[Looks]) -> Looks:
    """Return the looks at several runs, one after the other."""
    before = np.cumsum([0, *(len(each.seconds) for each in parts)]).tolist()
    placed = [
        replace(each, first=each.first + start, last=each.last + start)
        for each, start in zip(parts, before, strict=False)
    ]
    columns = {field.name: np.concatenate([getattr(each, field.name) for each in placed]) for field in fields(Looks)}
    return Looks(**columns)


def _until(trace: Trace, share: float) -> float:
    start, end = span(trace)
    return start + share * (end - start)


def _looks(trace: Trace, until: float) -> dict[str, Looks]:
    """Cut a run into stretches. An attempt that ended after `until`, or failed, is only known to run."""
    by_target: dict[str, list[RecordedAttempt]] = {}
    for job in trace:
        for each in job.attempts:
            by_target.setdefault(each.target, []).append(each)
    times = {
        name: np.minimum([(each.started_at, each.ended_at) for each in attempts], until)
        for name, attempts in by_target.items()
    }
    edges = np.unique(np.concatenate([*times.values(), [[until, until]]]))
    places = {name: np.searchsorted(edges, each) for name, each in times.items()}
    running = {name: _running(each, len(edges)) for name, each in places.items()}
    busy = np.sum([each > 0 for each in running.values()], axis=0).astype(np.float64)
    found = {}
    for name, attempts in sorted(by_target.items()):
        work = np.array([each.output_tokens + PROMPT_WORK * each.input_tokens for each in attempts])
        ended = np.array([each.ended_at <= until for each in attempts])
        known = np.flatnonzero(ended & (work > 0))
        if len(known) < FEWEST_ATTEMPTS:
            rule = f"needs {FEWEST_ATTEMPTS} finished attempts to learn from, has {len(known)}"
            raise ConfigError(f"replay.{name}", rule)
        first, last = places[name][known].T
        found[name] = Looks(running[name], busy, np.diff(edges), first, last, work[known])
    return found


def _running(places: Counts, edges: int) -> Array:
    """Return how many attempts run in each stretch between the edges."""
    starts, ends = (np.bincount(each, minlength=edges) for each in places.T)
    return np.cumsum(starts - ends)[:-1].astype(np.float64)


def fitted(looks: Mapping[str, Looks]) -> tuple[dict[str, tuple[float, float]], float]:
    """Fit seconds per step, and those of each job in it, by target, and the contention of all, by least squares.

    A search tries the knees and contentions. Each line is scaled to do as much in all attempts together as was done:
    how long a run takes depends on how much is done while there is much to do.
    """

    fastest = {name: look.fastest() for name, look in looks.items()}

    def lines(contention: float) -> tuple[float, dict[str, tuple[float, float]]]:
        each = {name: _line(look, contention, fastest[name]) for name, look in looks.items()}
        return sum(error for error, _ in each.values()), {name: line for name, (_, line) in each.items()}

    contention = min(CONTENTIONS, key=lambda tried: lines(tried)[0])
    return lines(contention)[1], contention


def _line(look: Looks, contention: float, fastest: float) -> tuple[float, tuple[float, float]]:
    """Return the squared error, as a part of the squares, and the two numbers of the line.

    At every moment all jobs on a target are equally fast, however many there are: an attempt's work is the sum of what
    that made in its stretches, not even over its time.
    """
    drag, work = 1 + contention * np.maximum(look.busy - 1, 0.0), look.work
    shapes = look.over(1 / (KNEES[:, None] + np.maximum(look.running, 1.0)) / drag)
    most = np.sum(work) / np.sum(shapes, axis=1)
    errors = np.sum((work - most[:, None] * shapes) ** 2, axis=1) / np.sum(work**2)
    errors[KNEES / most > fastest] = np.inf
    best = int(np.argmin(errors))
    return float(errors[best]), (float(KNEES[best] / most[best]), float(1 / most[best]))
