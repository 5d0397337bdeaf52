"""The parts of the simulation, each on its own: sizes, times, replicas, what is asked and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.lab.simulation.report.sketch import ERROR, LEAST_SECONDS, Sketch
from fleet.lab.simulation.targets.lanes import LaneQueue
from fleet.lab.simulation.targets.pool import WORK_PER_TOKEN, Machine, Pace, Pool, pace_of
from fleet.lab.simulation.targets.provider import SimulatedProvider
from fleet.lab.simulation.targets.scaler import DOWNSCALE_SECONDS, UPSCALE_SECONDS, RayServeScaler
from fleet.lab.simulation.upkeep import SAMPLES, History, UpkeepSample
from fleet.lab.simulation.workload.ability import DIFFICULTIES, DRAWS, LEVELS, answers_of, hashed
from fleet.lab.simulation.workload.crowd import PORTION, SimulatedJob, crowd
from fleet.lab.simulation.workload.scenario import (
    Ability,
    ArrivalProcess,
    Kind,
    Length,
    Own,
    Paid,
    Scenario,
    check,
    in_force,
)
from fleet.model.attempt import Failure, Outcome
from fleet.model.errors import ConfigError
from fleet.model.job import Lane
from fleet.model.scaling import Capacity
from fleet.model.target import Serving
from policies.rules.rules import Rules
from policies.scaling.reading import ReplicaBounds, ScalingInputs

KIND = Kind(1.0, "chat", Length(100, 0.5), Length(50, 0.5, min=10, max=80))


def scenario(**changes: Any) -> Scenario:
    given: dict[str, Any] = {
        "title": "test",
        "jobs": 10,
        "arrivals": ArrivalProcess(5.0),
        "mix": (KIND,),
        "own": {"llama-8b": Own((1, 2), 64, 0.03)},
        "answers": {"llama-8b": Ability(0.9, 0.5)},
        **changes,
    }
    return Scenario(**given)


def simulated(tokens: int = 100, deadline_at: float = math.inf) -> SimulatedJob:
    job = SimulatedJob(0.0, 0, 0, tokens, 0, tokens)
    job.deadline_at = deadline_at
    return job


@given(st.lists(st.floats(LEAST_SECONDS, 1e6), min_size=1), st.floats(0, 1))
def test_a_quantile_is_near_a_time_that_was_seen_at_its_rank(times: list[float], share: float) -> None:
    sketch = Sketch()
    for time in times:
        sketch.add(time)
    exact = sorted(times)[math.floor(share * (len(times) - 1))]
    assert abs(sketch.quantile(share) - exact) <= ERROR * exact * (1 + 1e-9)
    assert sketch.mean == pytest.approx(np.mean(times))


def test_two_sketches_together_are_one_of_everything() -> None:
    one, two, both = Sketch(), Sketch(), Sketch()
    for number in range(1, 1000):
        (one if number % 3 else two).add(number)
        both.add(number)
    one.include(two)
    assert [one.quantile(share) for share in (0.1, 0.5, 0.99)] == [both.quantile(share) for share in (0.1, 0.5, 0.99)]


def test_times_too_short_to_matter_count_as_none() -> None:
    sketch = Sketch()
    sketch.add(0.0)
    assert sketch.quantile(0.5) == 0.0
    assert Sketch().quantile(0.5) == 0.0


def test_jobs_are_as_many_and_as_long_as_the_scenario_says() -> None:
    count = PORTION + 5000
    jobs = list(crowd(scenario(), count, seed=3))
    assert len(jobs) == count
    assert jobs == sorted(jobs, key=lambda job: job.arrived_at)
    assert jobs[-1].arrived_at == pytest.approx(count / 5.0, rel=0.03)
    assert np.median([job.input for job in jobs]) == pytest.approx(100, rel=0.03)
    assert {min(job.output for job in jobs), max(job.output for job in jobs)} == {10, 80}
    assert {job.difficulty for job in jobs} == set(range(DIFFICULTIES))


def test_the_mix_is_drawn_by_its_shares() -> None:
    mix = (replace(KIND, share=3.0), replace(KIND, share=1.0))
    kinds = [job.kind for job in crowd(scenario(mix=mix), 20_000, seed=1)]
    assert kinds.count(0) / len(kinds) == pytest.approx(0.75, abs=0.015)


def test_the_wave_has_its_top_at_the_peak_hour() -> None:
    arrivals = ArrivalProcess(1.0, daily_peak=1.8, peak_hour=14)
    hours = [job.arrived_at / 3600 % 24 for job in crowd(scenario(arrivals=arrivals), 86_400 * 2, seed=1)]
    peak, trough = (sum(abs(hour - at) < 1 for hour in hours) / len(hours) * 12 for at in (14, 2))
    assert peak == pytest.approx(1.8, abs=0.05)
    assert trough == pytest.approx(0.2, abs=0.05)


def test_bursts_hold_their_share_of_the_average() -> None:
    arrivals = ArrivalProcess(2.0, burst_factor=10, burst_seconds=120, burst_every_seconds=3600)
    times = [job.arrived_at for job in crowd(scenario(arrivals=arrivals), 43_200, seed=1)]
    in_burst = sum(time % 3600 < 120 for time in times) / len(times)
    assert in_burst == pytest.approx(10 * 120 / (10 * 120 + 3480), abs=0.02)
    assert times[-1] == pytest.approx(6 * 3600, rel=0.03)


def test_draws_of_one_job_have_nothing_to_do_with_each_other() -> None:
    bits = np.random.default_rng(1).integers(0, 1 << 64, size=20_000, dtype=np.uint64).tolist()
    draws = np.array([[hashed(each, attempt) / (1 << 24) for attempt in range(3)] for each in bits])
    assert np.abs(np.corrcoef(draws.T) - np.eye(3)).max() < 0.02
    low = draws[draws[:, 0] < 0.3][:, 1]
    assert np.histogram(low, 5, (0, 1))[0] / len(low) == pytest.approx([0.2] * 5, abs=0.02)


def test_confidence_falls_with_difficulty_and_says_how_often_an_answer_is_right(rules: Rules) -> None:
    answers = answers_of({"llama-8b": Ability(0.97, 0.4, 1.2)}, 1, rules)["llama-8b"]
    means = [np.mean([answers.verdicts[level].confidence for level in grade]) for grade in answers.by_kind[0]]
    assert means == sorted(means, reverse=True)
    for verdict in answers.verdicts:
        assert verdict.right_below / DRAWS == pytest.approx(verdict.confidence, abs=1 / DRAWS)
    assert len(answers.verdicts) == LEVELS


@pytest.mark.parametrize(("name", "shown"), [("gpt-4o", None), ("claude-sonnet", 0.9)])
def test_whoever_gives_no_logprobs_shows_its_prior(name: str, shown: float | None, rules: Rules) -> None:
    answers = answers_of({name: Ability(0.9, 0.5)}, 1, rules)[name]
    assert {verdict.confidence for verdict in answers.verdicts} == {shown}


def test_full_batches_do_what_the_catalogue_says() -> None:
    """At four prompt tokens for each of the answer, which is what the catalogue counts by."""
    pace = pace_of("llama-8b", Own((1, 1), 64, 0.03), Serving(5500.0, 240.0, 1.0))
    pool = Pool(pace, 1, Machine(0.0))
    for number in range(64):
        pool.start(SimulatedJob(0.0, 0, 400, 100, 0, number), 0.0)
    assert 64 * 500 / pool.next_at == pytest.approx(5500.0)
    assert pytest.approx(1540) == 5500 * WORK_PER_TOKEN


def test_a_job_alone_takes_a_step_per_token() -> None:
    pool = Pool(Pace(0.03, 0.001, 64), 2, Machine(0.0))
    pool.start(simulated(100), 5.0)
    assert pool.next_at == pytest.approx(5.0 + 100 * 0.031)


def test_a_speed_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"own\.llama-8b\.step_seconds: allows 3571 tokens/s"):
        pace_of("llama-8b", Own((1, 1), 30, 0.03), Serving(5500.0, 240.0, 1.0))


def test_busy_neighbours_on_one_machine_cost_time() -> None:
    machine = Machine(0.5)
    pools = [Pool(Pace(0.01, 0.0, 64), 1, machine) for _ in range(2)]
    pools[0].start(simulated(100), 0.0)
    assert pools[0].next_at == pytest.approx(1.0)
    pools[1].start(simulated(20), 0.5)
    assert pools[0].next_at == pytest.approx(0.5 + 0.5 * 1.5)
    pools[1].finish(pools[1].next_at)
    assert pools[0].next_at == pytest.approx(0.5 + 0.3 + 0.3)


def test_a_lost_machine_takes_its_share_of_the_jobs() -> None:
    pool = Pool(Pace(0.01, 0.001, 64), 4, Machine(0.0))
    for number in range(40):
        pool.start(simulated(100 + number), 0.0)
    assert len(pool.lose_one(0.1)) == 10
    assert (pool.n, pool.replicas) == (30, 3)


def test_a_job_that_was_stopped_here_and_runs_there_is_done_there_only() -> None:
    machine = Machine(0.0)
    first, second = (Pool(Pace(0.01, 0.0, 64), 1, machine) for _ in range(2))
    short, long = simulated(10), simulated(50)
    first.start(short, 0.0)
    first.start(long, 0.0)
    first.stop(long, 0.05)
    second.start(simulated(90), 0.05)
    second.start(long, 0.05)
    assert first.finish(first.next_at) is short
    assert first.next_at == math.inf
    assert second.finish(second.next_at) is long


@pytest.mark.parametrize("lane", Lane)
def test_tenants_take_turns_beyond_what_is_kept_ready(lane: Lane) -> None:
    line = LaneQueue(lane, slots=8)
    for _ in range(400):
        line.put(simulated(200), "acme")
    for _ in range(40):
        line.put(simulated(201), "globex")
    assert line.in_work == 16
    order = [line.take().output == 201 for _ in range(440)]
    assert sum(order[:200]) == 40
    assert line.count == 0


def test_jobs_past_their_deadline_leave_a_line() -> None:
    line = LaneQueue(Lane.STANDARD, slots=1)
    for number in range(6):
        line.put(simulated(100 + number, deadline_at=float(number)), "acme")
    assert [job.output for job in line.overdue(2.5)] == [100, 101, 102]
    assert [line.take().output for _ in range(line.count)] == [103, 104, 105]


def test_a_provider_answers_no_more_than_its_limit_in_a_minute() -> None:
    provider = SimulatedProvider(Paid(0.5, 100.0, requests_per_minute=10))
    outcomes: list[Outcome] = [provider.call(simulated(), 0.1 * number)[1] for number in range(15)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert len(refused) == 5
    assert refused[0].retry_after_seconds == pytest.approx(59.0)
    assert not isinstance(provider.call(simulated(), 60.0)[1], Failure)


def test_ray_serve_adds_after_thirty_seconds_and_removes_after_ten_minutes() -> None:
    scaler = RayServeScaler(ReplicaBounds(1, 8), ongoing=10.0)

    def wanted(ongoing: float, there: int, now: float) -> int:
        return scaler.wanted(ScalingInputs(None, (), Capacity(there), ongoing), now)

    added = [now for now in range(0, 100, 5) if wanted(40.0, 1, now) > 1]
    assert added[0] == UPSCALE_SECONDS
    removed = [now for now in range(100, 1000, 5) if wanted(0.0, 4, now) < 4]
    assert removed[0] - 100 == pytest.approx(DOWNSCALE_SECONDS, abs=40)  # the mean looks back half a minute


def test_history_keeps_the_whole_time_in_few_samples() -> None:
    history = History()
    for moment in range(50_000):
        history.note(lambda moment=moment: UpkeepSample(float(moment), {}, {}, moment))  # type: ignore[misc]
    assert SAMPLES <= len(history.samples) < 2 * SAMPLES
    assert history.samples[0].at < 200
    assert history.samples[-1].at > 49_800


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"jobs": 0}, "jobs: must be more than zero"),
    ({"mix": ()}, "mix: must have at least one kind"),
    ({"mix": (replace(KIND, task="dance"),)}, "mix.0.task: 'dance' is not among the tasks"),
    ({"mix": (replace(KIND, share=-1.0),)}, "mix.0.share: must be more than zero"),
    ({"mix": (replace(KIND, input=Length(min=9, max=3)),)}, "mix.0.input.min: must not be over max, which is 3"),
    ({"mix": (replace(KIND, difficulty=(0.9, 0.1)),)}, "mix.0.difficulty: must be two numbers"),
    ({"mix": (replace(KIND, own_key="openai/main"),)}, "mix.0.own_key: goes with plan own_key"),
    ({"own": {"gpt-4o": Own((1, 1), 8, 0.1)}}, "own.gpt-4o: is no target of the fleet"),
    ({"paid": {"llama-8b": Paid(1.0, 1.0)}}, "paid.llama-8b: is no target outside the fleet"),
    ({"own": {}}, "own: or paid must name"),
    ({"own": {"llama-8b": Own((3, 1), 8, 0.1)}}, "own.llama-8b.replicas: must be the least and the most"),
    ({"paid": {"gpt-4o": Paid(1.0, 1.0)}}, "answers.gpt-4o: is missing"),
    ({"answers": {"llama-8b": Ability(0.2, 0.8)}}, "answers.llama-8b.hard: must be more than 0 and not over easy"),
    ({"arrivals": ArrivalProcess(-1.0)}, "arrivals.jobs_per_second: must be more than zero"),
    ({"arrivals": ArrivalProcess(1.0, daily_peak=3.0)}, "arrivals.daily_peak: must be between 1 and 2"),
    ({"spot_price": 2.0}, "spot_price: must be between 0 and 1"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_scenario_that_makes_no_sense_is_refused_by_field_and_rule(
    changes: dict[str, Any], message: str, rules: Rules
) -> None:
    with pytest.raises(ConfigError) as refused:
        check(scenario(**changes), rules)
    assert str(refused.value).startswith(message)


def test_an_unknown_phase_is_refused(rules: Rules) -> None:
    with pytest.raises(ConfigError, match="phase: 'phase9' is none of"):
        in_force(scenario(phase="phase9"), rules)
