"""The prediction of a recorded run by simulation, from other runs or from its own first part.

Only the arrivals and the tokens of the predicted run's jobs are used; its duration and the split of its answers over
the targets are predicted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from typing import Any

import numpy as np

from fleet.lab.simulation.engine import Engine
from fleet.lab.simulation.fitting import FittedModels, learn
from fleet.lab.simulation.report.sketch import Sketch
from fleet.lab.simulation.report.tally import Tally
from fleet.lab.simulation.targets.pool import Pace
from fleet.lab.simulation.upkeep import Upkeep
from fleet.lab.simulation.workload.ability import DRAWS, Answers, SimulatedVerdict
from fleet.lab.simulation.workload.crowd import SimulatedJob
from fleet.lab.simulation.workload.scenario import (
    ArrivalProcess,
    Kind,
    Length,
    Own,
    ScalingKind,
    ScalingSetup,
    Scenario,
)
from fleet.lab.simulation.workload.trace import RecordedJob, Trace, span
from fleet.model.job import Lane, Plan
from policies.rules.rules import Rules

FIRST_PART = 0.4
"""Share of a run's time to learn from where no other run is given."""

TUNINGS = 3
"""Rounds of scaling the learned paces to the time of their own runs; each at least halves the distance."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A run as it was and as it was simulated; the split is over the targets whose answers were delivered.

    `seconds` is the whole run, `p50_seconds` and `p95_seconds` are a job's time from submission to result.
    """

    jobs: int
    seconds: float
    predicted_seconds: float
    p50_seconds: float
    predicted_p50_seconds: float
    p95_seconds: float
    predicted_p95_seconds: float
    split: dict[str, float]
    predicted_split: dict[str, float]

    @property
    def seconds_error(self) -> float:
        return abs(self.predicted_seconds / self.seconds - 1)

    @property
    def split_error(self) -> float:
        """The part of the jobs that would have to move from one target to another."""
        names = self.split.keys() | self.predicted_split.keys()
        return sum(abs(self.split.get(name, 0.0) - self.predicted_split.get(name, 0.0)) for name in names) / 2

    def as_json(self) -> dict[str, Any]:
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return plain | {"seconds_error": self.seconds_error, "split_error": self.split_error}


def predict(trace: Trace, others: Sequence[Trace], rules: Rules) -> Prediction:
    """Predict the run of `trace` as learned from the `others`, or if there are none from its own first part.

    Every target has one replica, as on the local fleet. Raises: ConfigError if there is too little to learn from.
    """
    learned = tuned(learn(others, rules), others, rules) if others else learn([trace], rules, FIRST_PART)
    seconds, tally = _run(trace, learned, rules)
    start, end = span(trace)
    p50, p95 = np.quantile([job.finished_at - job.submitted_at for job in trace], (0.5, 0.95)).tolist()
    times = Sketch()
    for lane in tally.lanes.values():
        times.include(lane.times)
    delivered = Counter(job.target for job in trace if job.target is not None)
    return Prediction(
        jobs=len(trace),
        seconds=end - start,
        predicted_seconds=seconds,
        p50_seconds=p50,
        predicted_p50_seconds=times.quantile(0.50),
        p95_seconds=p95,
        predicted_p95_seconds=times.quantile(0.95),
        split=_shares(delivered),
        predicted_split=_shares(tally.by_target),
    )


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    whole = max(1, sum(counts.values()))
    return {name: count / whole for name, count in sorted(counts.items())}


def tuned(learned: FittedModels, traces: Sequence[Trace], rules: Rules) -> FittedModels:
    """Scale the paces so that the runs learned from take as long as they did.

    A fleet has work of its own beside the models', which no attempt shows: taking jobs, deciding, filling its batches.
    Each job is answered as it was: a few more escalations to the slowest target would change the time as well.
    """
    for _ in range(TUNINGS):
        real = sum(end - start for start, end in map(span, traces))
        simulated = sum(_run(trace, learned, rules, as_recorded=True)[0] for trace in traces)
        factor = real / simulated
        paces = {
            name: Pace(pace.step_seconds * factor, pace.each_seconds * factor, pace.sequences)
            for name, pace in learned.paces.items()
        }
        learned = replace(learned, paces=paces)
    return learned


def _run(trace: Trace, learned: FittedModels, rules: Rules, as_recorded: bool = False) -> tuple[float, Tally]:
    """Return seconds until all jobs have ended, and the tally of their ends.

    The answers are drawn from those learned, or `as_recorded`, where the job got one from the target, that.
    """
    kinds = sorted({(job.task, job.lane, job.plan) for job in trace})
    scenario = _scenario(trace, kinds, learned)
    start, _ = span(trace)
    jobs = [_simulated(job, kinds.index((job.task, job.lane, job.plan)), start) for job in trace]
    tasks = [task for task, _, _ in kinds]
    answers = {name: answers_like(name, tasks, learned) for name in learned.paces}
    if as_recorded:
        answers = {name: _recorded(name, trace, jobs, answers[name]) for name in answers}
        for place, simulated in enumerate(jobs):
            simulated.difficulty = place
    jobs.sort(key=lambda job: job.arrived_at)
    engine = Engine(scenario, rules, learned.paces, answers)
    Upkeep(engine, seed=0)
    return engine.run(jobs), engine.tally


def _scenario(trace: Trace, kinds: Sequence[tuple[str, Lane, Plan]], learned: FittedModels) -> Scenario:
    attempts = [each for job in trace for each in job.attempts]
    prompt, answer = (
        Length(max=max((count for each in attempts if (count := getattr(each, name))), default=1))
        for name in ("input_tokens", "output_tokens")
    )
    return Scenario(
        title="replay",
        jobs=len(trace),
        arrivals=ArrivalProcess(jobs_per_second=1.0),
        mix=tuple(Kind(1.0, task, prompt, answer, lane, plan) for task, lane, plan in kinds),
        own={name: Own((1, 1), pace.sequences, pace.step_seconds) for name, pace in learned.paces.items()},
        scaling=ScalingSetup(by=ScalingKind.FIXED),
        dispatchers=1,
        contention=learned.contention,
    )


def _simulated(job: RecordedJob, kind: int, start: float) -> SimulatedJob:
    """Return the job with the tokens of its first answer; its random numbers come from its id."""
    first = next((each for each in job.attempts if each.output_tokens), None)
    input_tokens, output_tokens = (first.input_tokens, first.output_tokens) if first else (1, 1)
    bits = int.from_bytes(blake2b(job.id.encode(), digest_size=8).digest())
    return SimulatedJob(job.submitted_at - start, kind, input_tokens, output_tokens, 0, bits)


def answers_like(name: str, of_kinds: Sequence[str], learned: FittedModels) -> Answers:
    """Return the target's confidences in answers to the tasks of these kinds, or to any where it had none of that."""
    tasks = sorted({task for target, task in learned.answers if target == name})
    verdicts = [verdict for task in tasks for verdict in learned.answers[name, task]]
    ranges, place = {}, 0
    for task in tasks:
        ranges[task] = (place, len(learned.answers[name, task]))
        place += len(learned.answers[name, task])
    everything = (0, len(verdicts))
    tables = []
    for task in of_kinds:
        first, size = ranges.get(task, everything)
        tables.append([(first + np.arange(DRAWS) * size // DRAWS).tolist()])
    return Answers(tuple(verdicts), tables)


class _Always(Sequence[int]):
    """The same outcome whatever is drawn."""

    def __init__(self, outcome: int) -> None:
        self._outcome = outcome

    def __len__(self) -> int:
        return DRAWS

    def __getitem__(self, place: Any) -> Any:
        return self._outcome


def _recorded(name: str, trace: Trace, jobs: Sequence[SimulatedJob], others: Answers) -> Answers:
    """Return the target's answers to each job, whose place in the trace is its grade; `others` where it has none."""
    verdicts = list(others.verdicts)
    by_job: list[Sequence[int]] = []
    for recorded, job in zip(trace, jobs, strict=True):
        answered = [each for each in recorded.attempts if each.target == name and each.output_tokens]
        if answered:
            by_job.append(_Always(len(verdicts)))
            verdicts.append(SimulatedVerdict(answered[-1].confidence, answered[-1].judged, DRAWS))
        else:
            by_job.append(others.by_kind[job.kind][0])
    return Answers(tuple(verdicts), [by_job] * len(others.by_kind))
