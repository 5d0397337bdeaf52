"""Forecasts what a file of rows will cost and when it will be through, as an interval.

The rows run through the simulated fleet many times: each time with other rows drawn, other lengths of answers, and
speeds drawn from what the recorded runs leave open. The interval holds the middle of what came out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fleet.lab.simulation.beliefs import Belief, DrawnFleet
from fleet.lab.simulation.engine import Engine
from fleet.lab.simulation.upkeep import Upkeep
from fleet.lab.simulation.workload.crowd import Array, SimulatedJob
from fleet.lab.simulation.workload.scenario import Kind, Length
from fleet.model.job import Lane, Plan, Tier
from policies.money import usd_of
from policies.rules.rules import Rules

SIMULATED_ROWS = 1_000
"""Maximum rows of one simulation: those beyond take the time that the later ones of these took."""

REPETITIONS = 40
LOW, HIGH = 0.025, 0.975
"""Quantiles between which the truth is forecast: about the least and the greatest of 40 simulations."""

SAMPLE_ROWS = 4_000


@dataclass(frozen=True, slots=True)
class SampledRow:
    """What a decision and its price depend on, of one row; `max_output_tokens` None: the request names no limit."""

    task: str
    input_tokens: int
    max_output_tokens: int | None = None
    plan: Plan = Plan.PAID
    tier: Tier | None = None
    cloud: bool = True


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float

    @classmethod
    def of(cls, values: Array) -> Interval:
        """Return the quantiles of what the values are a sample of.

        One more value is under the k-th least of n with a probability of k / (n + 1) (Weibull 1939), which is more than
        k / n says of the ends of few values.
        """
        return cls(*np.quantile(values, (LOW, HIGH), method="weibull").tolist())

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Forecast:
    """The seconds until the last row is done and the cost of all, as intervals; `split` is who answers, on average.

    `late` is the share of the simulations that were over the deadline, `too_dear` of those over the maximum cost.
    """

    rows: int
    seconds: Interval
    cost_usd: Interval
    split: Mapping[str, float]
    late: float
    too_dear: float


class RowSampler:
    """Keeps some rows of any number, each with the same probability; the same rows give the same sample."""

    def __init__(self, max_rows: int = SAMPLE_ROWS, seed: int = 0) -> None:
        self._max_rows = max_rows
        self._rng = np.random.default_rng(seed)
        self.rows: list[SampledRow] = []
        self.seen = 0

    def add(self, row: SampledRow) -> None:
        """Take the row in the place of one taken before, or not (Vitter's algorithm R, 1985)."""
        self.seen += 1
        if len(self.rows) < self._max_rows:
            self.rows.append(row)
        elif (place := int(self._rng.integers(self.seen))) < self._max_rows:
            self.rows[place] = row


@dataclass(frozen=True, slots=True)
class _Outcome:
    seconds: float
    cost_usd: float
    answers: Mapping[str, int]


def forecast(
    sampler: RowSampler,
    belief: Belief,
    rules: Rules,
    deadline_seconds: float,
    max_cost_usd: float | None = None,
    seed: int = 1,
    repetitions: int = REPETITIONS,
) -> Forecast:
    """Forecast the rows that the sampler has seen, if they are all there at once and nothing else runs.

    Raises: ConfigError if rules and recorded runs do not go together.
    """
    outcomes = [_simulated(sampler, belief, rules, np.random.default_rng((seed, each))) for each in range(repetitions)]
    seconds = np.array([each.seconds for each in outcomes])
    costs = np.array([each.cost_usd for each in outcomes])
    limit = np.inf if max_cost_usd is None else max_cost_usd
    return Forecast(
        rows=sampler.seen,
        seconds=Interval.of(seconds),
        cost_usd=Interval.of(costs),
        split=_split(outcomes),
        late=float(np.mean(seconds > deadline_seconds)),
        too_dear=float(np.mean(costs > limit)),
    )


def _split(outcomes: Sequence[_Outcome]) -> dict[str, float]:
    names = sorted({name for each in outcomes for name in each.answers})
    counts = {name: sum(each.answers.get(name, 0) for each in outcomes) for name in names}
    return {name: count / max(1, sum(counts.values())) for name, count in counts.items()}


def _simulated(sampler: RowSampler, belief: Belief, rules: Rules, rng: np.random.Generator) -> _Outcome:
    """Simulate a draw of the rows, or where there are too many a part and half of it, to know what more rows add."""
    count = min(sampler.seen, SIMULATED_ROWS)
    drawn = belief.draw(rng)
    places = rng.integers(len(sampler.rows), size=count)
    rows = [sampler.rows[place] for place in places.tolist()]
    if count == len(sampler.rows) == sampler.seen:
        rows = sampler.rows  # all are known
    run = _Run(rows, drawn, rules, rng)
    whole = run.first(count)
    if count == sampler.seen:
        return whole
    half, more = run.first(count // 2), (sampler.seen - count) / (count - count // 2)
    return _Outcome(
        whole.seconds + more * max(0.0, whole.seconds - half.seconds),
        whole.cost_usd * sampler.seen / count,
        whole.answers,
    )


class _Run:
    """Rows with their answers' lengths and their random bits drawn once, so that parts of them are alike."""

    def __init__(self, rows: Sequence[SampledRow], drawn: DrawnFleet, rules: Rules, rng: np.random.Generator) -> None:
        self._drawn = drawn
        self._rules = rules
        self._kinds, numbers = _kinds_of(rows, drawn, rules)
        usual = rules.estimates.output_tokens
        lengths = [drawn.output_tokens(row.task, row.max_output_tokens or usual) for row in rows]
        grades = [drawn.difficulty(row.task) for row in rows]
        inputs = [row.input_tokens for row in rows]
        bits = rng.integers(0, 1 << 64, size=len(rows), dtype=np.uint64).tolist()
        self._columns = list(zip(numbers, inputs, lengths, grades, bits, strict=True))

    def first(self, count: int) -> _Outcome:
        """Simulate the first rows, all there at once."""
        jobs = [SimulatedJob(0.0, *column) for column in self._columns[:count]]
        scenario = replace(self._drawn.scenario, mix=self._kinds, jobs=count)
        answers = self._drawn.answers([kind.task for kind in self._kinds])
        engine = Engine(scenario, self._rules, self._drawn.paces, answers)
        Upkeep(engine, seed=0)
        seconds = engine.run(jobs)
        return _Outcome(seconds, _cost(engine, jobs), dict(engine.tally.by_target))


def _cost(engine: Engine, jobs: Sequence[SimulatedJob]) -> float:
    """Return the price of every attempt, as a batch counts it."""
    decisions, targets = engine.decisions, engine.rules.catalogue.targets
    return usd_of(sum(decisions.cost(job, targets[decisions.target_of(code)]) for job in jobs for code in job.path))


def _kinds_of(rows: Sequence[SampledRow], drawn: DrawnFleet, rules: Rules) -> tuple[tuple[Kind, ...], list[int]]:
    """Return the kinds of job among the rows, and the number of each row's kind."""
    keys = [(row.task, row.plan, row.tier, row.cloud, row.max_output_tokens) for row in rows]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    longest = Length(max=max(row.input_tokens for row in rows))
    kinds = tuple(
        Kind(
            share=1.0,
            task=task,
            input=longest,
            output=Length(max=limit or rules.estimates.output_tokens),
            lane=Lane.BULK,
            plan=plan,
            tier=tier,
            cloud=cloud,
        )
        for task, plan, tier, cloud, limit in numbers
    )
    return kinds, [numbers[key] for key in keys]
