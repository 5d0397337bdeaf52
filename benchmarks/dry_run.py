"""Measures how often the truth lies inside the intervals of `fleet bulk submit --dry-run`.

Each workload is a fleet with speeds, contention and confidences that the forecast does not know. A paced run is
recorded on it, from which the forecast learns; then a file of other rows runs on it, all at once.
The fleet is simulated: what is measured is whether the intervals are honest about what a recorded run leaves open, and
about runs that differ by chance, not whether the simulator is right about real engines (`fleet simulate --replay` is).

    python -m benchmarks.dry_run [--workloads 50] [--seed 1] [--json]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.report import show
from fleet.lab.simulation.beliefs import AT_ONCE, RecordedBelief
from fleet.lab.simulation.engine import Engine
from fleet.lab.simulation.forecast import REPETITIONS, Forecast, RowSampler, SampledRow, forecast
from fleet.lab.simulation.targets.pool import Pace
from fleet.lab.simulation.targets.server import SimulatedTarget
from fleet.lab.simulation.upkeep import Upkeep
from fleet.lab.simulation.workload.ability import DIFFICULTIES, answers_of
from fleet.lab.simulation.workload.crowd import SimulatedJob
from fleet.lab.simulation.workload.scenario import Ability, Kind, Length, Own, ScalingKind, ScalingSetup, Scenario
from fleet.lab.simulation.workload.trace import RecordedAttempt, RecordedJob
from fleet.model.attempt import Answer, Outcome
from fleet.model.job import Lane, Plan
from fleet.settings.documents import load_rules
from policies.money import usd_of
from policies.rules.rules import Rules

TARGETS = {"llama-8b": 1.0, "mixtral-8x7b": 2.0, "llama-70b": 4.0}
"""The targets, and how many times longer than the first each takes, about."""

TASKS = ("nudge.recognition", "classify.intent", "plan.schedule", "analyse.divergence")
RECORDED_JOBS = 800
MAX_ROWS = 5_000

CHANCE = 0.06
"""Standard deviation of the logarithm of a run's time, by chance: three real runs of one load were within 8 %."""


@dataclass(frozen=True, slots=True)
class HiddenFleet:
    """A fleet nobody has measured yet, and the rows that are to run on it."""

    paces: Mapping[str, Pace]
    contention: float
    abilities: Mapping[str, Ability]
    lengths: Mapping[str, tuple[Length, Length]]
    rows: int


@dataclass(frozen=True, slots=True)
class Trial:
    found: Forecast
    seconds: float
    cost_usd: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rules = load_rules(None, None, "local")
    show(figures_of([trial(arguments.seed + each, rules) for each in range(arguments.workloads)]), arguments.json)


def figures_of(trials: Sequence[Trial]) -> dict[str, float]:
    """Return the shares inside, and how wide the intervals are: the upper end over the lower, in the median."""
    return {
        "workloads": len(trials),
        "time_inside": float(np.mean([each.found.seconds.holds(each.seconds) for each in trials])),
        "cost_inside": float(np.mean([each.found.cost_usd.holds(each.cost_usd) for each in trials])),
        "time_width": float(np.median([each.found.seconds.high / each.found.seconds.low for each in trials])),
        "cost_width": float(np.median([each.found.cost_usd.high / each.found.cost_usd.low for each in trials])),
    }


def trial(seed: int, rules: Rules, max_rows: int = MAX_ROWS, repetitions: int = REPETITIONS) -> Trial:
    """Record a run on a hidden fleet, forecast a file from it, and run the file."""
    rng = np.random.default_rng(seed)
    fleet = hidden(rng, max_rows)
    rate = RECORDED_JOBS / rng.uniform(10, 40)
    paced = np.cumsum(rng.exponential(1 / rate, RECORDED_JOBS))
    recorded, _, _ = run(fleet, jobs_of(fleet, paced.tolist(), rng), rules)
    jobs = list(jobs_of(fleet, [0.0] * fleet.rows, rng))
    sampler = RowSampler()
    for job in jobs:
        sampler.add(SampledRow(TASKS[job.kind], job.input, fleet.lengths[TASKS[job.kind]][1].max))
    belief = RecordedBelief([recorded], rules)
    found = forecast(sampler, belief, rules, deadline_seconds=86400.0, seed=seed, repetitions=repetitions)
    _, seconds, cost = run(fleet, jobs, rules)
    return Trial(found, seconds * float(np.exp(CHANCE * rng.standard_normal())), cost)


def hidden(rng: np.random.Generator, max_rows: int) -> HiddenFleet:
    step, each = rng.uniform(0.003, 0.02), rng.uniform(0.00005, 0.001)
    slower = {name: factor * rng.uniform(0.7, 1.4) for name, factor in TARGETS.items()}
    easy, hard = rng.uniform(0.95, 0.99), rng.uniform(0.4, 0.8)
    return HiddenFleet(
        paces={name: Pace(step * factor, each * factor, 256) for name, factor in slower.items()},
        contention=rng.uniform(0.0, 0.6),
        abilities={name: Ability(easy, hard + 0.05 * place, 1.1) for place, name in enumerate(TARGETS)},
        lengths={task: _lengths(rng) for task in TASKS},
        rows=int(np.exp(rng.uniform(np.log(300), np.log(max_rows)))),
    )


def _lengths(rng: np.random.Generator) -> tuple[Length, Length]:
    prompt, answer = rng.uniform(40, 200), rng.uniform(5, 60)
    return Length(prompt, 0.3, 1, 400), Length(answer, rng.uniform(0.1, 0.6), 1, 100)


def jobs_of(fleet: HiddenFleet, times: Sequence[float], rng: np.random.Generator) -> Iterator[SimulatedJob]:
    for at in times:
        kind = int(rng.integers(len(TASKS)))
        prompt, answer = (_length(each, rng) for each in fleet.lengths[TASKS[kind]])
        difficulty, bits = int(rng.integers(DIFFICULTIES)), int(rng.integers(0, 1 << 64, dtype=np.uint64))
        yield SimulatedJob(at, kind, prompt, answer, difficulty, bits)


def _length(length: Length, rng: np.random.Generator) -> int:
    drawn = length.median * np.exp(length.sigma * rng.standard_normal())
    return int(np.clip(round(float(drawn)), length.min, length.max))


class RecordingEngine(Engine):
    """An engine that keeps what a recorded run has of every attempt."""

    attempts: dict[int, list[RecordedAttempt]]

    def _concluded(self, server: SimulatedTarget, job: SimulatedJob, outcome: Outcome, now: float) -> None:
        number, started = len(job.path), job.started_at
        super()._concluded(server, job, outcome, now)
        name = server.target.name
        kept = RecordedAttempt(name, started, now, 0, 0)
        if isinstance(outcome, Answer):
            verdict = self._answers[name].verdicts[job.path[number] % (1 << 20)]
            kept = RecordedAttempt(name, started, now, job.input, job.output, verdict.confidence)
        self.attempts.setdefault(id(job), []).append(kept)


def run(
    fleet: HiddenFleet, jobs: Sequence[SimulatedJob] | Iterator[SimulatedJob], rules: Rules
) -> tuple[list[RecordedJob], float, float]:
    """Run the jobs on the fleet; return the run's record, its seconds and its cost."""
    jobs = list(jobs)
    kinds = tuple(Kind(1.0, task, *lengths, lane=Lane.BULK) for task, lengths in fleet.lengths.items())
    engine = RecordingEngine(
        _scenario(fleet, kinds), rules, fleet.paces, answers_of(fleet.abilities, len(kinds), rules)
    )
    engine.attempts = {}
    Upkeep(engine, seed=0)
    seconds = engine.run(jobs)
    targets, decisions = rules.catalogue.targets, engine.decisions
    cost = usd_of(sum(decisions.cost(job, targets[decisions.target_of(code)]) for job in jobs for code in job.path))
    record = [_recorded(number, job, engine.attempts.get(id(job), [])) for number, job in enumerate(jobs)]
    return record, seconds, cost


def _recorded(number: int, job: SimulatedJob, attempts: Sequence[RecordedAttempt]) -> RecordedJob:
    in_order = tuple(sorted(attempts, key=lambda each: each.started_at))
    target = in_order[-1].target if in_order else None
    return RecordedJob(
        f"job-{number}", TASKS[job.kind], Lane.BULK, Plan.PAID, job.arrived_at, job.ended_at, target, in_order
    )


def _scenario(fleet: HiddenFleet, kinds: tuple[Kind, ...]) -> Scenario:
    return Scenario(
        title="hidden",
        jobs=1,
        arrivals=replace(AT_ONCE),
        mix=kinds,
        own={name: Own((1, 1), pace.sequences, pace.step_seconds) for name, pace in fleet.paces.items()},
        scaling=ScalingSetup(by=ScalingKind.FIXED),
        dispatchers=1,
        contention=fleet.contention,
    )


if __name__ == "__main__":
    main()
