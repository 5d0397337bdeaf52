"""A simulation from beginning to end, and its report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from fleet.lab.simulation.engine import Engine
from fleet.lab.simulation.report.sketch import Sketch
from fleet.lab.simulation.report.tally import Tally
from fleet.lab.simulation.targets.pool import Pace, pace_of
from fleet.lab.simulation.upkeep import Upkeep, UpkeepSample
from fleet.lab.simulation.workload.ability import Answers, answers_of
from fleet.lab.simulation.workload.crowd import SimulatedJob, crowd
from fleet.lab.simulation.workload.scenario import DAY_SECONDS, HOUR_SECONDS, Scenario
from fleet.model.job import Lane
from policies.rules.rules import Rules

MONTH_SECONDS = 30 * DAY_SECONDS


@dataclass(frozen=True, slots=True)
class LaneReport:
    """Seconds from arrival to the first attempt (`wait`) and to the result (`time`), within 1 %."""

    jobs: int
    wait_p50_seconds: float
    wait_p95_seconds: float
    wait_p99_seconds: float
    time_p50_seconds: float
    time_p95_seconds: float
    time_p99_seconds: float
    deadline_misses: int


@dataclass(frozen=True, slots=True)
class SimulatedTargetReport:
    """Results of one target. `answers` counts those it gave; `usd` is machines for own targets, calls for others."""

    attempts: int
    answers: int
    usd: float
    replica_seconds: float = 0.0
    machines_lost: int = 0


@dataclass(frozen=True, slots=True)
class SimulationReport:
    """The report of a simulation.

    `simulated_seconds` is the time that machines are paid for. `month_usd` is the cost of 30 days of such time and of
    the calls of the jobs that come in 30 days, `month_own_usd` the machines' part.
    `quality` is the share of right answers among all jobs. A deadline is missed if a job ends without any answer
    because its time is over. `escalations` are the attempts that followed an answer, `overloaded` the hand-overs to a
    later rung because an earlier one was too busy, and `overloaded_usd` what providers were paid for those.
    `without_call` counts the jobs whose answer was known, by who knew it.
    """

    title: str
    jobs: int
    simulated_seconds: float
    cost_usd: float
    own_usd: float
    paid_usd: float
    month_usd: float
    month_own_usd: float
    quality: float
    answered: int
    deadline_misses: int
    attempts_per_job: float
    replica_seconds: float
    escalations: int
    overloaded: int
    overloaded_usd: float
    decisions_asked: int
    total: LaneReport
    lanes: Mapping[Lane, LaneReport]
    targets: Mapping[str, SimulatedTargetReport]
    statuses: Mapping[str, int]
    reasons: Mapping[str, int]
    split: Mapping[str, float]
    without_call: Mapping[str, int]
    history: tuple[UpkeepSample, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the report without the history, which is for plots."""
        plain = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "history"}
        plain["lanes"] = {lane.value: _plain(report) for lane, report in self.lanes.items()}
        plain["targets"] = {name: _plain(report) for name, report in self.targets.items()}
        total = _plain(plain.pop("total"))
        del total["jobs"]
        return plain | total


def _plain(report: LaneReport | SimulatedTargetReport) -> dict[str, Any]:
    return {field.name: getattr(report, field.name) for field in fields(report)}


def simulate(scenario: Scenario, rules: Rules, jobs: int, seed: int) -> SimulationReport:
    """Simulate `jobs` drawn jobs of the scenario under `rules`; the same arguments give the same report.

    The fleet is paid for as long as so many jobs take to arrive on average, or until the last one ends if that is
    later. `scenario` was checked against `rules`, which are those in force.
    """
    answers = answers_of(scenario.answers, len(scenario.mix), rules)
    until = 0.0 if scenario.arrivals.at_once else jobs / scenario.arrivals.jobs_per_second
    return simulate_jobs(scenario, rules, crowd(scenario, jobs, seed), paces_of(scenario, rules), answers, until, seed)


def paces_of(scenario: Scenario, rules: Rules) -> dict[str, Pace]:
    """Return the paces of the own targets. Raises: ConfigError if the catalogue's speed is out of reach."""
    found = {}
    for name, own in scenario.own.items():
        serving = rules.catalogue.targets[name].serving
        assert serving is not None, "the scenario was checked"
        found[name] = pace_of(name, own, serving)
    return found


def simulate_jobs(
    scenario: Scenario,
    rules: Rules,
    jobs: Iterable[SimulatedJob],
    paces: Mapping[str, Pace],
    answers: Mapping[str, Answers],
    until: float,
    seed: int,
) -> SimulationReport:
    """Simulate like `simulate`, with the caller's jobs, paces and answers."""
    if rules.discounts.batch:  # the scenario says what goes into batches, and how long they take
        rules = replace(rules, discounts=replace(rules.discounts, batch=False))
    engine = Engine(scenario, rules, paces, answers)
    upkeep = Upkeep(engine, seed)
    end = engine.run(jobs, until)
    for server in engine.own.values():
        server.close(end)
    return _report(engine, until or end, end, tuple(upkeep.history.samples))


def _report(engine: Engine, arrival_seconds: float, end: float, history: tuple[UpkeepSample, ...]) -> SimulationReport:
    tally, targets = engine.tally, _targets(engine)
    own_usd = sum(targets[name].usd for name in engine.own)
    paid_usd = sum(targets[name].usd for name in engine.paid)
    lanes = {lane: _lane(each.waits, each.times, each.misses) for lane, each in tally.lanes.items() if each.times.count}
    total = _total(tally)
    month_own_usd = own_usd * MONTH_SECONDS / end if end else 0.0
    month_paid_usd = paid_usd * MONTH_SECONDS / arrival_seconds if arrival_seconds else 0.0
    return SimulationReport(
        title=engine.scenario.title,
        jobs=tally.ended,
        simulated_seconds=end,
        cost_usd=own_usd + paid_usd,
        own_usd=own_usd,
        paid_usd=paid_usd,
        month_usd=month_own_usd + month_paid_usd,
        month_own_usd=month_own_usd,
        quality=tally.right / tally.ended if tally.ended else 0.0,
        answered=tally.answered,
        deadline_misses=total.deadline_misses,
        attempts_per_job=tally.attempts / tally.ended if tally.ended else 0.0,
        replica_seconds=sum(each.replica_seconds for each in targets.values()),
        escalations=tally.escalations,
        overloaded=tally.overloaded,
        overloaded_usd=tally.overloaded_usd,
        decisions_asked=engine.decisions.asked,
        total=total,
        lanes=lanes,
        targets=targets,
        statuses={status.value: count for status, count in tally.statuses.items()},
        reasons={reason.value: count for reason, count in tally.reasons.items()},
        split=_split(tally),
        without_call={by.value: count for by, count in tally.without_call.items()},
        history=history,
    )


def _targets(engine: Engine) -> dict[str, SimulatedTargetReport]:
    found = {}
    for name, server in engine.own.items():
        price = server.serving.usd_per_hour * (engine.scenario.spot_price if server.own.spot else 1.0)
        usd = server.replica_seconds / HOUR_SECONDS * price
        answers = engine.tally.by_target[name]
        found[name] = SimulatedTargetReport(server.attempts, answers, usd, server.replica_seconds, server.lost)
    for name, paid in engine.paid.items():
        found[name] = SimulatedTargetReport(paid.attempts, engine.tally.by_target[name], paid.usd)
    return found


def _split(tally: Tally) -> dict[str, float]:
    """Return the share of each target in all answers."""
    return {name: count / tally.answered for name, count in sorted(tally.by_target.items()) if count}


def _total(tally: Tally) -> LaneReport:
    waits, times = Sketch(), Sketch()
    for lane in tally.lanes.values():
        waits.include(lane.waits)
        times.include(lane.times)
    return _lane(waits, times, sum(lane.misses for lane in tally.lanes.values()))


def _lane(waits: Sketch, times: Sketch, misses: int) -> LaneReport:
    return LaneReport(
        jobs=times.count,
        wait_p50_seconds=waits.quantile(0.50),
        wait_p95_seconds=waits.quantile(0.95),
        wait_p99_seconds=waits.quantile(0.99),
        time_p50_seconds=times.quantile(0.50),
        time_p95_seconds=times.quantile(0.95),
        time_p99_seconds=times.quantile(0.99),
        deadline_misses=misses,
    )
