"""The jobs of a scenario, drawn in portions with numpy and handed out one by one in order of arrival."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fleet.lab.simulation.workload.ability import DIFFICULTIES
from fleet.lab.simulation.workload.scenario import DAY_SECONDS, HOUR_SECONDS, ArrivalProcess, Kind, Length, Scenario
from fleet.model.action import Run

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

PORTION = 1 << 14
"""Jobs drawn at once: memory does not grow with the number of jobs."""

STEP_SECONDS = 30.0
"""Maximum step of the integral over the rate of arrivals."""


class SimulatedJob:
    """A job on its way. Times are seconds since the start; `kind` is a place in the scenario's mix.

    `bits` are 64 random bits, from which everything about its answers is drawn, so that a job fares alike in scenarios
    that are compared. `path` holds the attempts, target and outcome as numbers; `rights` has a bit per right answer;
    `run` is the number under which it runs on replicas, 0 while it does not. `sent` is the hand-over that brought it to
    its target, made at `sent_at`, when so many jobs as it `found` were there. `thread` and `tools` are the tokens of
    these parts of its prompt, `warm` says that the thread is in the provider's cache, `again` that the call was made
    without tools before. `cached` are the tokens that the present call reads from the provider's cache, `price` is what
    it costs over the usual.
    """

    __slots__ = (
        "again",
        "arrived_at",
        "begun",
        "bits",
        "cached",
        "deadline_at",
        "difficulty",
        "ended_at",
        "found",
        "input",
        "kind",
        "output",
        "path",
        "price",
        "reserved",
        "rights",
        "run",
        "sent",
        "sent_at",
        "started_at",
        "thread",
        "tools",
        "waits",
        "warm",
    )

    def __init__(
        self, arrived_at: float, kind: int, input_tokens: int, output_tokens: int, difficulty: int, bits: int
    ) -> None:
        self.arrived_at = arrived_at
        self.kind = kind
        self.input = input_tokens
        self.output = output_tokens
        self.difficulty = difficulty
        self.bits = bits
        self.deadline_at = math.inf
        self.path: tuple[int, ...] = ()
        self.rights = 0
        self.waits = 0
        self.begun = False
        self.run = 0
        self.started_at = 0.0
        self.ended_at = 0.0
        self.reserved = 0
        self.sent: Run | None = None
        self.sent_at = 0.0
        self.found = 0
        self.thread = 0
        self.tools = 0
        self.warm = False
        self.again = False
        self.cached = 0
        self.price = 1.0


def crowd(scenario: Scenario, count: int, seed: int) -> Iterator[SimulatedJob]:
    """Yield `count` jobs of the scenario; the same seed makes the same ones."""
    rng = np.random.default_rng(seed)
    shares = np.array([kind.share for kind in scenario.mix])
    bounds = np.cumsum(shares / shares.sum())
    clock = ArrivalTimes(scenario.arrivals)
    for start in range(0, count, PORTION):
        size = min(PORTION, count - start)
        times = clock.next(rng, size)
        kinds = np.minimum(np.searchsorted(bounds, rng.random(size), side="right"), len(bounds) - 1)
        columns = _columns(scenario.mix, kinds, rng)
        bits = rng.integers(0, 1 << 64, size=size, dtype=np.uint64)
        yield from map(SimulatedJob, times.tolist(), kinds.tolist(), *(c.tolist() for c in columns), bits.tolist())


def _columns(mix: Sequence[Kind], kinds: Counts, rng: np.random.Generator) -> tuple[Counts, ...]:
    """Draw input tokens, output tokens and difficulty of jobs of these kinds."""
    columns = tuple(np.empty(len(kinds), dtype=np.int64) for _ in range(3))
    for place, kind in enumerate(mix):
        mine = np.flatnonzero(kinds == place)
        low, high = kind.difficulty
        columns[0][mine] = tokens(kind.input, len(mine), rng)
        columns[1][mine] = tokens(kind.output, len(mine), rng)
        drawn = low + (high - low) * rng.random(len(mine))
        columns[2][mine] = np.minimum(drawn * DIFFICULTIES, DIFFICULTIES - 1).astype(np.int64)
    return columns


def tokens(length: Length, size: int, rng: np.random.Generator) -> Counts:
    if length.values:
        values: Counts = np.array(length.values, dtype=np.int64)
        return values[rng.integers(len(values), size=size)]
    lengths: Array = np.rint(length.median * np.exp(length.sigma * rng.standard_normal(size)))
    return np.clip(lengths, length.min, length.max).astype(np.int64)


class ArrivalTimes:
    """Times of a Poisson process whose rate repeats, by time change: unit steps on the integral of the rate."""

    def __init__(self, arrivals: ArrivalProcess) -> None:
        self._at_once = arrivals.at_once
        self._times, self._integral = _integral(arrivals)
        self._reached = 0.0

    def next(self, rng: np.random.Generator, size: int) -> Array:
        steps = self._reached + np.cumsum(rng.exponential(size=size))
        self._reached = float(steps[-1])
        if self._at_once:
            return np.zeros(size)
        rounds, rest = np.divmod(steps, self._integral[-1])
        within: Array = np.interp(rest, self._integral, self._times)
        times: Array = rounds * self._times[-1] + within
        return times


def _integral(arrivals: ArrivalProcess) -> tuple[Array, Array]:
    """Return times over one round of the rate, and the jobs expected until each."""
    flat = arrivals.daily_peak == 1.0
    round_seconds = arrivals.burst_every_seconds if flat else DAY_SECONDS
    steps = np.arange(0.0, round_seconds, min(STEP_SECONDS, arrivals.burst_seconds / 4))
    times = np.append(steps, round_seconds)
    middle = (times[1:] + times[:-1]) / 2
    hours = middle / HOUR_SECONDS - arrivals.peak_hour
    rate = 1.0 + (arrivals.daily_peak - 1.0) * np.cos(2 * np.pi * hours / 24)
    in_burst = middle % arrivals.burst_every_seconds < arrivals.burst_seconds
    rate *= np.where(in_burst, arrivals.burst_factor, 1.0)
    jobs = np.append(0.0, np.cumsum(rate * np.diff(times)))
    return times, jobs * (arrivals.jobs_per_second * round_seconds / jobs[-1])
