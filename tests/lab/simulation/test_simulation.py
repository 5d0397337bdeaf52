"""The simulation is exact where exactness can be checked, loses no job and spends no more than it may."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_fleet import End, NaiveFleet
from sparing_fleet import EVERYTHING, QUESTIONS, THREAD

from fleet.lab.simulation.engine import Engine
from fleet.lab.simulation.report.tally import Tally
from fleet.lab.simulation.simulate import SimulationReport, paces_of, simulate
from fleet.lab.simulation.targets.pool import Pace
from fleet.lab.simulation.upkeep import Upkeep
from fleet.lab.simulation.workload.ability import answers_of
from fleet.lab.simulation.workload.crowd import SimulatedJob, crowd
from fleet.lab.simulation.workload.mechanisms import Mechanisms
from fleet.lab.simulation.workload.scenario import (
    Ability,
    ArrivalProcess,
    Kind,
    Length,
    Outage,
    Own,
    Paid,
    ScalingKind,
    ScalingSetup,
    Scenario,
    check,
    in_force,
)
from fleet.model.action import Finish, GiveUp
from fleet.model.job import Lane, Plan
from policies.rules.rules import Rules

GOOD = ("succeeded", "best_effort")
FIXED = ScalingSetup(by=ScalingKind.FIXED)
SURE = Ability(0.999, 0.999, 0.0)
UNSURE = Ability(0.95, 0.5, 1.0)


def kind(task: str = "nudge.recognition", lane: Lane = Lane.STANDARD, **changes: Any) -> Kind:
    given: dict[str, Any] = {"input": Length(200, 0.5, max=2000), "output": Length(60, 0.5, max=300), **changes}
    return Kind(given.pop("share", 1.0), task, lane=lane, **given)


def scenario(**changes: Any) -> Scenario:
    given: dict[str, Any] = {
        "title": "test",
        "jobs": 100,
        "arrivals": ArrivalProcess(10.0),
        "mix": (kind(),),
        "own": {"llama-8b": Own((1, 1), 64, 0.03)},
        "answers": {"llama-8b": UNSURE, "mixtral-8x7b": UNSURE, "groq-gpt-oss-120b": UNSURE, "gpt-4o": UNSURE},
        "scaling": FIXED,
        "daily_usd": 1000.0,
        **changes,
    }
    return Scenario(**given)


class Ends(Tally):
    """Remembers how each job ended, by its random bits."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, End] = {}
        self.twice: list[int] = []

    def finished(self, job: SimulatedJob, lane: Lane, action: Finish, target: str, now: float) -> None:
        self._note(job, (now, action.status, target))
        super().finished(job, lane, action, target, now)

    def gave_up(self, job: SimulatedJob, lane: Lane, action: GiveUp, now: float) -> None:
        self._note(job, (now, action.status, None))
        super().gave_up(job, lane, action, now)

    def _note(self, job: SimulatedJob, end: End) -> None:
        if job.bits in self.seen:
            self.twice.append(job.bits)
        self.seen[job.bits] = end


def ends_of(tested: Scenario, rules: Rules, jobs: Iterable[SimulatedJob]) -> Ends:
    engine = Engine(tested, rules, paces_of(tested, rules), answers_of(tested.answers, len(tested.mix), rules))
    engine.tally = ends = Ends()
    Upkeep(engine, 1)
    engine.run(jobs)
    return ends


MIXED = scenario(
    arrivals=ArrivalProcess(6.0),
    mix=(
        kind(share=3, lane=Lane.BULK),
        kind("classify.intent", Lane.INTERACTIVE, deadline_seconds=9.0),
        kind("analyse.behaviour", output=Length(200, 0.6, max=900)),
        kind("extract.fields", input=Length(6000, 0.4, max=20_000), plan=Plan.FREE),
        kind("review.critique", cloud=False),
    ),
    own={"llama-8b": Own((1, 1), 40, 0.02), "mixtral-8x7b": Own((2, 2), 48, 0.01)},
    paid={"groq-gpt-oss-120b": Paid(0.3, 400.0), "gpt-4o": Paid(0.7, 80.0)},
    dispatchers=1,
)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("jobs_per_second", [2.0, 6.0, 25.0])
def test_every_job_ends_as_in_a_fleet_simulated_the_slow_way(seed: int, jobs_per_second: float, rules: Rules) -> None:
    tested = replace(MIXED, arrivals=ArrivalProcess(jobs_per_second))
    in_use = in_force(tested, rules)
    found = ends_of(tested, in_use, crowd(tested, 250, seed)).seen
    expected = NaiveFleet(tested, in_use).run(list(crowd(tested, 250, seed)))
    assert found.keys() == expected.keys()
    assert len({end[1] for end in expected.values()}) > 1, "nothing but one status proves little"
    for bits, (at, status, target) in expected.items():
        if status == "expired":  # the fast one looks for these with every tick
            assert found[bits][1] == "expired"
            assert at - 1e-6 <= found[bits][0] or found[bits][0] <= at + FIXED.every_seconds
        else:
            assert found[bits][1:] == (status, target)
            assert math.isclose(found[bits][0], at, abs_tol=1e-6)


OVERRUN = replace(
    MIXED,
    mix=(
        kind(lane=Lane.BULK),
        kind("classify.intent", Lane.INTERACTIVE, share=3, deadline_seconds=12.0, output=Length(120, 0.5, max=400)),
        kind("extract.fields", deadline_seconds=30.0),
    ),
)


@pytest.mark.parametrize("seed", range(3))
def test_jobs_that_climb_from_an_overloaded_target_end_as_in_the_slow_fleet(seed: int, rules: Rules) -> None:
    tested = replace(OVERRUN, arrivals=ArrivalProcess(12.0))
    in_use = in_force(tested, rules)
    found = ends_of(tested, in_use, crowd(tested, 400, seed))
    expected = NaiveFleet(tested, in_use).run(list(crowd(tested, 400, seed)))
    assert found.overloaded > 50, "nothing climbed"
    assert {bits: end[1:] for bits, end in found.seen.items()} == {bits: end[1:] for bits, end in expected.items()}


def test_climbing_saves_deadlines_costs_calls_and_ends_with_the_wave(rules: Rules) -> None:
    """A wave of a minute in every ten, three times what the target can do."""
    waves = ArrivalProcess(8.0, burst_factor=10.0, burst_seconds=60.0, burst_every_seconds=600.0)
    tested = scenario(
        arrivals=waves,
        mix=(kind("classify.intent", Lane.INTERACTIVE),),
        own={"llama-8b": Own((1, 1), 64, 0.03)},
        paid={"gpt-4o": Paid(0.5, 90.0)},
        answers={"llama-8b": SURE, "gpt-4o": SURE},
    )
    staying = replace(rules, overload=replace(rules.overload, lanes=frozenset()))
    before, after = (run(tested, each, 9_600) for each in (staying, rules))
    assert before.deadline_misses > 0.1 * before.jobs
    assert after.deadline_misses < 0.01 * before.deadline_misses
    assert before.overloaded == before.overloaded_usd == 0
    assert after.overloaded_usd == pytest.approx(after.paid_usd)
    assert after.split["gpt-4o"] < 0.5, "between the waves the own target is enough"
    assert after.targets["llama-8b"].answers > before.targets["llama-8b"].answers


def test_rays_default_sends_nothing_elsewhere(rules: Rules) -> None:
    assert in_force(scenario(scaling=ScalingSetup(by=ScalingKind.RAY_SERVE)), rules).overload.lanes == frozenset()


def one_server(length: Length, load: float, own: Own, pace: Pace, rules: Rules, jobs: int = 60_000) -> Engine:
    """Jobs that all want the 8B, on slots that are busy the part `load` of the time."""
    tested = scenario(
        arrivals=ArrivalProcess(1.0),
        mix=(kind(lane=Lane.INTERACTIVE, input=Length(1, 0, max=1), output=length, deadline_seconds=1e6),),
        own={"llama-8b": own},
        answers={"llama-8b": SURE},
    )
    mean_tokens = float(np.mean([job.output + 0.1 for job in crowd(tested, 20_000, 5)]))
    tokens_per_second = (
        own.replicas[0] * own.max_sequences / pace.step_seconds if pace.step_seconds else 1 / pace.each_seconds
    )
    tested = replace(tested, arrivals=ArrivalProcess(load * tokens_per_second / mean_tokens))
    engine = Engine(tested, in_force(tested, rules), {"llama-8b": pace}, answers_of(tested.answers, 1, rules))
    engine.run(crowd(tested, jobs, 5))
    return engine


EXPONENTIAL = Length(values=tuple(max(1, round(-200 * math.log(1 - (n + 0.5) / 4000))) for n in range(4000)))
"""Of mean 200 tokens."""


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_server_and_fixed_work_wait_as_long_as_pollaczek_and_khinchine_say(load: float, rules: Rules) -> None:
    """M/D/1: the mean wait is load / (2 (1 - load)) services (Pollaczek 1930, Khinchine 1932)."""
    engine = one_server(Length(200, max=200), load, Own((1, 1), 1, 0.01), Pace(0.01, 0.0, 1), rules)
    mean = engine.tally.lanes[Lane.INTERACTIVE].waits.mean
    assert mean == pytest.approx(2.0 * load / (2 * (1 - load)), rel=0.06)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (4, 0.8)])
def test_servers_and_exponential_work_wait_as_long_as_erlang_says(servers: int, load: float, rules: Rules) -> None:
    """M/M/c: the mean wait is C / (c (1 - load)) services, with Erlang's C (1917) for the chance to wait at all."""
    own, pace = Own((servers, servers), 1, 0.01), Pace(0.01, 0.0, 1)
    engine = one_server(EXPONENTIAL, load, own, pace, rules, jobs=100_000)
    offered = servers * load
    terms = [offered**n / math.factorial(n) for n in range(servers + 1)]
    waits = terms[-1] / (1 - load)
    chance = waits / (sum(terms[:-1]) + waits)
    mean = engine.tally.lanes[Lane.INTERACTIVE].waits.mean
    assert mean == pytest.approx(2.0 * chance / (servers * (1 - load)), rel=0.08)


@pytest.mark.parametrize("length", [Length(200, max=200), EXPONENTIAL])
def test_jobs_that_share_a_server_take_as_long_whatever_the_spread_of_their_work(length: Length, rules: Rules) -> None:
    """M/G/1 with processor sharing: the mean time is the mean work / (1 - load) (Kleinrock 1976, insensitivity)."""
    engine = one_server(length, 0.7, Own((1, 1), 100_000, 0.001), Pace(0.0, 0.001, 100_000), rules)
    assert engine.tally.lanes[Lane.INTERACTIVE].times.mean == pytest.approx(0.2 / 0.3, rel=0.06)


ARRIVALS = st.builds(
    ArrivalProcess,
    jobs_per_second=st.sampled_from([0.05, 3.0, 40.0]),
    daily_peak=st.sampled_from([1.0, 1.9]),
    burst_factor=st.sampled_from([1.0, 20.0]),
    at_once=st.booleans(),
)
KINDS = st.builds(
    kind,
    task=st.sampled_from(["nudge.recognition", "analyse.performance", "review.critique", "coach.reply"]),
    lane=st.sampled_from(Lane),
    tenant=st.sampled_from(["acme", "globex"]),
    plan=st.sampled_from([Plan.FREE, Plan.PAID]),
    deadline_seconds=st.sampled_from([None, 0.5, 20.0]),
    cloud=st.booleans(),
    image=st.booleans(),
    prompts=st.sampled_from([None, QUESTIONS]),
    parts=st.sampled_from([None, THREAD]),
    input=st.sampled_from([Length(50), Length(9000, 1.0, max=30_000)]),
)
OWN = st.builds(
    Own,
    replicas=st.sampled_from([(0, 2), (1, 1), (1, 3)]),
    max_sequences=st.just(64),
    step_seconds=st.just(0.01),
    spot=st.booleans(),
    losses_per_day=st.sampled_from([0.0, 2000.0]),
)
PAID = st.builds(
    Paid,
    seconds=st.just(0.5),
    tokens_per_second=st.just(100.0),
    requests_per_minute=st.sampled_from([None, 5]),
    outages=st.sampled_from([(), (Outage(0.0, 0.02),)]),
)
SCENARIOS = st.builds(
    scenario,
    arrivals=ARRIVALS,
    mix=st.lists(KINDS, min_size=1, max_size=3).map(tuple),
    own=st.dictionaries(st.sampled_from(["llama-8b", "mixtral-8x7b"]), OWN, max_size=2),
    paid=st.dictionaries(st.sampled_from(["groq-gpt-oss-120b", "gpt-4o"]), PAID, min_size=1),
    scaling=st.builds(ScalingSetup, by=st.sampled_from(ScalingKind)),
    daily_usd=st.sampled_from([0.01, 100.0]),
    mechanisms=st.sampled_from([Mechanisms(), EVERYTHING, replace(EVERYTHING, coalesced=False, semantic=None)]),
)


@settings(max_examples=60)
@given(tested=SCENARIOS, jobs=st.integers(1, 120), seed=st.integers(0, 9))
def test_whatever_happens_every_job_ends_once_and_the_days_money_is_kept_to(
    tested: Scenario, jobs: int, seed: int, rules: Rules
) -> None:
    check(tested, rules)
    in_use = in_force(tested, rules)
    report = simulate(tested, in_use, jobs, seed)
    assert report.jobs == jobs == sum(report.statuses.values()) == sum(lane.jobs for lane in report.lanes.values())
    assert report.answered == sum(count for status, count in report.statuses.items() if status in GOOD)
    assert report.paid_usd <= in_use.money.daily_usd * (1 + report.simulated_seconds // 86400) + 1e-9
    assert ends_of(tested, in_use, crowd(tested, jobs, seed)).twice == []


@settings(max_examples=20)
@given(tested=SCENARIOS, seed=st.integers(0, 9))
def test_the_same_seed_makes_the_same_report(tested: Scenario, seed: int, rules: Rules) -> None:
    in_use = in_force(tested, rules)
    assert simulate(tested, in_use, 60, seed) == simulate(tested, in_use, 60, seed)


def test_another_seed_makes_other_jobs(rules: Rules) -> None:
    tested = scenario()
    first, second = (simulate(tested, in_force(tested, rules), 100, seed) for seed in (1, 2))
    assert first.simulated_seconds != second.simulated_seconds


def run(tested: Scenario, rules: Rules, jobs: int = 3000) -> SimulationReport:
    check(tested, rules)
    return simulate(tested, in_force(tested, rules), jobs, 1)


def test_a_stronger_target_is_right_as_often_as_it_is_sure(rules: Rules) -> None:
    """Without a second rung nobody escalates, so quality is the mean confidence."""
    report = run(scenario(answers={"llama-8b": Ability(0.8, 0.8, 0.0)}), rules, 8000)
    assert report.quality == pytest.approx(0.825, abs=0.015)  # the middle of the level that 0.8 lies in


def test_escalation_buys_quality(rules: Rules) -> None:
    alone = run(scenario(), rules)
    ladder = run(scenario(paid={"gpt-4o": Paid(0.5, 90.0)}), rules)
    assert ladder.quality > alone.quality + 0.05
    assert ladder.attempts_per_job > 1.2
    assert ladder.paid_usd > 0 == alone.paid_usd


def test_calls_cost_what_their_tokens_cost(rules: Rules) -> None:
    exact = kind(input=Length(1000), output=Length(100))
    tested = scenario(mix=(exact,), own={}, paid={"gpt-4o": Paid(0.5, 90.0)}, daily_usd=1e5)
    report = run(tested, rules, 1000)
    assert report.targets["gpt-4o"].attempts == 1000
    assert report.paid_usd == pytest.approx(1000 * (1000 * 2.5 + 100 * 10.0) / 1e6)


def test_machines_cost_by_the_hour_and_less_on_spot(rules: Rules) -> None:
    tested = scenario(own={"llama-8b": Own((2, 2), 64, 0.03)}, arrivals=ArrivalProcess(1.0))
    usual, spot = (
        run(replace(tested, own={"llama-8b": replace(tested.own["llama-8b"], spot=s)}), rules) for s in (0, 1)
    )
    assert usual.own_usd == pytest.approx(2 * 1.006 * usual.simulated_seconds / 3600)
    assert spot.own_usd == pytest.approx(0.4 * usual.own_usd)


def test_lost_machines_are_replaced_and_their_jobs_run_again(rules: Rules) -> None:
    own = Own((2, 2), 64, 0.03, spot=True, losses_per_day=400)
    report = run(scenario(own={"llama-8b": own}, answers={"llama-8b": SURE}), rules)
    assert report.targets["llama-8b"].machines_lost > 0
    assert report.attempts_per_job > 1.0
    assert report.statuses["succeeded"] > 0.9 * report.jobs


def test_interactive_jobs_pass_a_backlog_of_bulk(rules: Rules) -> None:
    mix = (kind(lane=Lane.BULK, share=20), kind("classify.intent", Lane.INTERACTIVE))
    report = run(scenario(mix=mix, arrivals=ArrivalProcess(40.0), answers={"llama-8b": SURE}), rules)
    assert report.lanes[Lane.BULK].wait_p50_seconds > 20
    assert report.lanes[Lane.INTERACTIVE].wait_p95_seconds < 1


def test_a_tenant_with_few_jobs_is_not_behind_one_with_many(rules: Rules) -> None:
    """While both have jobs, both are served alike, however many of one there are."""
    few = kind(tenant="globex", share=1, lane=Lane.BULK, deadline_seconds=250.0)
    many = kind(tenant="acme", share=9, lane=Lane.BULK)
    alone = kind(tenant="acme", share=1, lane=Lane.BULK, deadline_seconds=250.0)
    reports = [
        run(scenario(mix=mix, arrivals=ArrivalProcess(1.0, at_once=True), answers={"llama-8b": SURE}), rules, 4000)
        for mix in ((few, many), (alone, many))
    ]
    assert reports[0].statuses.get("expired", 0) == 0 < reports[1].statuses["expired"]


def test_a_providers_limit_holds_its_calls_back(rules: Rules) -> None:
    paid = {"gpt-4o": Paid(0.5, 90.0, requests_per_minute=60)}
    report = run(scenario(own={}, paid=paid, arrivals=ArrivalProcess(10.0), dispatchers=1), rules, 600)
    assert report.simulated_seconds > 500
    assert report.statuses == {"succeeded": 600}


def test_an_outage_sends_jobs_to_the_next_rung_and_they_come_back(rules: Rules) -> None:
    paid = {"groq-gpt-oss-120b": Paid(0.3, 400.0, outages=(Outage(0.0, 0.1),)), "gpt-4o": Paid(0.7, 80.0)}
    report = run(scenario(own={}, paid=paid, arrivals=ArrivalProcess(2.0)), rules, 2000)
    assert report.statuses == {"succeeded": 2000}
    assert report.split["gpt-4o"] > 0.2
    assert report.split["groq-gpt-oss-120b"] > 0.2


@pytest.mark.parametrize("by", [ScalingKind.FLEET, ScalingKind.RAY_SERVE])
def test_more_jobs_bring_more_replicas(by: ScalingKind, rules: Rules) -> None:
    own = {"llama-8b": Own((1, 6), 64, 0.03)}
    mix = (kind(deadline_seconds=600.0),)
    tested = scenario(
        own=own, mix=mix, arrivals=ArrivalProcess(30.0), scaling=ScalingSetup(by=by), answers={"llama-8b": SURE}
    )
    report = run(tested, rules, 40_000)
    assert max(sample.replicas["llama-8b"] for sample in report.history) > 1


def test_a_target_without_a_replica_gets_one_when_jobs_want_it(rules: Rules) -> None:
    own = {"llama-8b": Own((0, 1), 64, 0.03)}
    tested = scenario(own=own, arrivals=ArrivalProcess(1.0), scaling=ScalingSetup(), answers={"llama-8b": SURE})
    report = run(tested, rules, 1500)
    assert report.statuses == {"succeeded": 1500}
    assert report.total.wait_p99_seconds > 100  # the start of the first replica takes four minutes
    assert report.replica_seconds < 1700


def test_few_decisions_are_asked_for(rules: Rules) -> None:
    report = run(scenario(paid={"gpt-4o": Paid(0.5, 90.0)}), rules, 5000)
    assert report.decisions_asked < 0.1 * report.jobs
