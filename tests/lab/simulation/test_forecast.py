"""A forecast holds the truth of fleets that it has seen one recorded run of, and is the same for the same rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.dry_run import hidden, jobs_of, run, trial
from fleet.lab.simulation.beliefs import AssumedBelief, RecordedBelief
from fleet.lab.simulation.forecast import Interval, RowSampler, SampledRow, forecast
from fleet.lab.simulation.targets.pool import Pace
from fleet.lab.simulation.workload.files import load_scenario
from fleet.lab.simulation.workload.traces import read_trace
from fleet.model.errors import ConfigError
from fleet.settings.documents import load_rules
from policies.rules.rules import Rules

HERE = Path(__file__).parent
DAY_SECONDS = 86400.0
ROW = SampledRow("nudge.recognition", input_tokens=60, max_output_tokens=40)


@pytest.fixture(scope="module")
def local_rules() -> Rules:
    return load_rules(None, None, "local")


@pytest.fixture(scope="module")
def belief(local_rules: Rules) -> RecordedBelief:
    return RecordedBelief([read_trace(HERE / "run-a.jsonl")], local_rules)


def rows(count: int, row: SampledRow = ROW) -> RowSampler:
    sampler = RowSampler(max_rows=500)
    for _ in range(count):
        sampler.add(row)
    return sampler


@pytest.mark.parametrize("seed", [1, 2])
def test_the_truth_of_a_hidden_fleet_lies_inside(local_rules: Rules, seed: int) -> None:
    found = trial(seed, local_rules, max_rows=400, repetitions=20)
    assert found.found.seconds.holds(found.seconds)
    assert found.found.cost_usd.holds(found.cost_usd)


def test_the_same_rows_make_the_same_forecast(belief: RecordedBelief, local_rules: Rules) -> None:
    first, again = (forecast(rows(300), belief, local_rules, DAY_SECONDS, repetitions=5) for _ in range(2))
    assert first == again
    assert 0 < first.seconds.low <= first.seconds.high
    assert 0 < first.cost_usd.low <= first.cost_usd.high
    assert (first.rows, sum(first.split.values())) == (300, pytest.approx(1.0))


def test_more_rows_than_are_simulated_take_and_cost_in_proportion(belief: RecordedBelief, local_rules: Rules) -> None:
    some, many = (forecast(rows(n), belief, local_rules, DAY_SECONDS, repetitions=5) for n in (3_000, 300_000))
    assert many.rows == 300_000
    assert many.cost_usd.low == pytest.approx(100 * some.cost_usd.low, rel=0.1)
    assert many.seconds.low == pytest.approx(100 * some.seconds.low, rel=0.3)


def test_what_is_over_a_bound_is_told(belief: RecordedBelief, local_rules: Rules) -> None:
    found = forecast(rows(300), belief, local_rules, deadline_seconds=1e-6, max_cost_usd=1e-9, repetitions=5)
    assert (found.late, found.too_dear) == (1.0, 1.0)
    found = forecast(rows(300), belief, local_rules, DAY_SECONDS, max_cost_usd=1e9, repetitions=5)
    assert (found.late, found.too_dear) == (0.0, 0.0)


def test_a_fleet_that_nobody_measured_gets_a_wide_interval() -> None:
    gpu_rules = load_rules(None, None, "gpu")
    found = forecast(rows(100), AssumedBelief(load_scenario("day"), gpu_rules), gpu_rules, DAY_SECONDS)
    assert found.seconds.high / found.seconds.low > 2
    assert found.split["llama-8b"] > 0.5


def test_longer_answers_take_longer(belief: RecordedBelief, local_rules: Rules) -> None:
    short, long = (
        forecast(rows(500, replace(ROW, max_output_tokens=n)), belief, local_rules, DAY_SECONDS, repetitions=5)
        for n in (1, 40)
    )
    assert short.seconds.high < long.seconds.high


def test_a_sample_of_rows_is_drawn_evenly() -> None:
    sampler = RowSampler(max_rows=200)
    for number in range(1, 2001):
        sampler.add(replace(ROW, input_tokens=number))
    drawn = np.array([row.input_tokens for row in sampler.rows])
    assert (len(drawn), sampler.seen) == (200, 2000)
    assert 850 < drawn.mean() < 1150


def test_an_interval_reaches_to_the_ends_of_few_simulations() -> None:
    found = Interval.of(np.arange(1.0, 41.0, dtype=np.float64))
    assert (found.low, found.high) == pytest.approx((1.025, 39.975))


def test_each_fleet_drawn_knows_only_some_of_the_recorded_lengths(belief: RecordedBelief) -> None:
    recorded = {each.output_tokens for job in read_trace(HERE / "run-a.jsonl") for each in job.attempts}
    rng = np.random.default_rng(1)
    means, known = [], []
    for _ in range(10):
        fleet = belief.draw(rng)
        lengths = [fleet.output_tokens("no such task", 1_000) for _ in range(10_000)]
        means.append(np.mean(lengths))
        known.append(set(lengths))
    assert all(each <= recorded for each in known)
    assert np.std(means) / np.mean(means) > 0.01  # 10,000 of one list would differ by a part of that


def test_a_record_has_the_attempts_that_timed_out(local_rules: Rules) -> None:
    rng = np.random.default_rng(1)
    fleet = hidden(rng, 400)
    slow = replace(fleet, paces={name: Pace(20.0, 0.0, pace.sequences) for name, pace in fleet.paces.items()})
    recorded, _, _ = run(slow, jobs_of(slow, [0.0] * 20, rng), local_rules)
    failed = [each for job in recorded for each in job.attempts if not each.output_tokens]
    assert failed
    assert all(each.ended_at - each.started_at == pytest.approx(60.0) for each in failed)


def test_a_record_without_answers_is_refused(local_rules: Rules) -> None:
    silent = [replace(job, attempts=(), target=None) for job in read_trace(HERE / "run-a.jsonl")]
    with pytest.raises(ConfigError, match="recorded: must have jobs that a target answered"):
        RecordedBelief([silent], local_rules)
