"""A recorded run is predicted from another one, and a file that is no record is refused by line and field."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.dry_run import HiddenFleet, hidden, jobs_of, run
from fleet.lab.simulation.fitting import Looks, fitted, learn
from fleet.lab.simulation.replay import predict, tuned
from fleet.lab.simulation.workload.trace import RecordedJob, span
from fleet.lab.simulation.workload.traces import read_trace
from fleet.model.errors import ConfigError
from fleet.model.job import Lane
from fleet.settings.documents import load_rules
from policies.rules.rules import Rules

HERE = Path(__file__).parent
"""`run-a.jsonl` and `run-b.jsonl` were recorded with `python -m benchmarks.record_run`."""


@pytest.fixture(scope="module")
def local_rules() -> Rules:
    return load_rules(None, None, "local")


@pytest.fixture(scope="module")
def runs() -> tuple[list[RecordedJob], list[RecordedJob]]:
    return read_trace(HERE / "run-a.jsonl"), read_trace(HERE / "run-b.jsonl")


def test_a_real_run_is_predicted_within_fifteen_percent(
    runs: tuple[list[RecordedJob], list[RecordedJob]], local_rules: Rules
) -> None:
    for predicted, other in (runs, runs[::-1]):
        found = predict(predicted, [other], local_rules)
        assert found.jobs == len(predicted)
        assert found.seconds_error < 0.15
        assert found.split_error < 0.15


def test_nothing_but_arrivals_and_tokens_of_the_predicted_run_is_used(
    runs: tuple[list[RecordedJob], list[RecordedJob]], local_rules: Rules
) -> None:
    run, other = runs
    bare = [RecordedJob(j.id, j.task, j.lane, j.plan, j.submitted_at, 1e12, None, j.attempts[:1]) for j in run]
    plain, blind = predict(run, [other], local_rules), predict(bare, [other], local_rules)
    assert blind.predicted_seconds == plain.predicted_seconds
    assert blind.predicted_split == plain.predicted_split


def test_learning_from_its_first_part_sees_nothing_of_the_rest(
    runs: tuple[list[RecordedJob], list[RecordedJob]], local_rules: Rules
) -> None:
    run = runs[0]
    start, end = span(run)
    until = start + 0.6 * (end - start)
    first = learn([run], local_rules, 0.6)
    answers = sum(len(verdicts) for verdicts in first.answers.values())
    assert answers == sum(each.ended_at <= until for job in run for each in job.attempts if each.output_tokens)
    assert 0 < answers < sum(len(job.attempts) for job in run)


def test_a_pace_is_found_again_in_what_it_would_have_done() -> None:
    running = np.array([1.0, 2, 5, 10, 20, 40, 80, 120])
    busy = np.array([1.0, 2, 2, 1, 2, 1, 2, 1])
    first = np.arange(8).repeat(8)
    last = np.tile(np.arange(1, 9), 8)
    first, last = first[first < last], last[first < last]
    done = np.concatenate([[0.0], np.cumsum(1 / (0.008 + 0.001 * running) / (1 + 0.25 * (busy - 1)))])
    looks = Looks(running, busy, np.ones(8), first, last, work=done[last] - done[first])
    lines, contention = fitted({"llama-8b": looks})
    assert contention == 0.25
    assert lines["llama-8b"] == pytest.approx((0.008, 0.001))


@pytest.fixture(scope="module")
def hidden_run(local_rules: Rules) -> tuple[HiddenFleet, list[RecordedJob]]:
    """A fleet and its run, in which the slower models got ever busier, and were full at the end."""
    rng = np.random.default_rng(5)
    fleet = hidden(rng, 400)
    times = np.cumsum(rng.exponential(0.02, 800)).tolist()
    return fleet, run(fleet, jobs_of(fleet, times, rng), local_rules)[0]


def test_paces_are_learned_from_a_run_that_got_ever_busier(
    hidden_run: tuple[HiddenFleet, list[RecordedJob]], local_rules: Rules
) -> None:
    fleet, recorded = hidden_run
    learned = learn([recorded], local_rules)
    assert learned.contention == pytest.approx(fleet.contention, abs=0.05)
    for name, pace in fleet.paces.items():
        found = learned.paces[name]
        for jobs in (1, 20, 224):
            real = pace.step_seconds + jobs * pace.each_seconds
            assert found.step_seconds + jobs * found.each_seconds == pytest.approx(real, rel=0.1)


def test_a_run_is_tuned_to_with_the_escalations_that_it_had(
    hidden_run: tuple[HiddenFleet, list[RecordedJob]], local_rules: Rules
) -> None:
    fleet, recorded = hidden_run
    learned = replace(learn([recorded], local_rules), paces=dict(fleet.paces), contention=fleet.contention)
    for name, pace in tuned(learned, [recorded], local_rules).paces.items():
        assert pace.each_seconds == pytest.approx(fleet.paces[name].each_seconds, rel=1e-6)


def test_too_short_a_run_teaches_nothing(runs: tuple[list[RecordedJob], list[RecordedJob]], local_rules: Rules) -> None:
    with pytest.raises(ConfigError, match=r"replay\.llama-.*: needs 20 finished attempts"):
        learn([runs[0][:30]], local_rules)


def test_a_target_nobody_knows_is_refused(
    runs: tuple[list[RecordedJob], list[RecordedJob]], local_rules: Rules
) -> None:
    elsewhere = [replace(job, attempts=tuple(replace(a, target="abacus") for a in job.attempts)) for job in runs[0]]
    with pytest.raises(ConfigError, match=r"replay\.abacus: is not in the catalogue"):
        learn([elsewhere], local_rules)


def test_a_run_without_answers_has_no_split(
    runs: tuple[list[RecordedJob], list[RecordedJob]], local_rules: Rules
) -> None:
    silent = [replace(job, attempts=(), target=None) for job in runs[0]]
    assert predict(silent, [silent], local_rules).predicted_split == {}


LINE: dict[str, Any] = {"id": "x", "task": "chat", "submitted_at": 1.0, "finished_at": 2.0}


def test_a_line_of_a_plain_result_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    file.write_text(json.dumps(LINE | {"status": "expired", "schema": 1}) + "\n")
    [job] = read_trace(file)
    assert (job.lane, job.attempts, job.target) == (Lane.STANDARD, (), None)


WRONG: dict[str, str] = {
    "": "must have at least one line",
    "{oops\n": "line 1, line: Invalid JSON",
    json.dumps(LINE) + "\n{}\n": "line 2, id: is required",
    json.dumps(LINE | {"submitted_at": -1}) + "\n": "line 1, submitted_at: must be greater than or equal to 0",
    json.dumps(LINE | {"lane": "express"}) + "\n": "line 1, lane: must be",
}


@pytest.mark.parametrize("text", WRONG, ids=list(WRONG.values()))
def test_what_is_no_record_is_refused_by_line_and_field(text: str, tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_trace(file)
    assert WRONG[text] in str(refused.value)
