"""The benchmark of the learning loop decides as dispatchers do, and counts what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.learning_loop.weeks import (
    SMALL,
    TASK,
    RollOut,
    Row,
    calibrated,
    collected,
    decide,
    figures,
    is_lost,
    job_of,
    labels,
)
from deployments.standins.tasks import examples
from fleet.lab.data.examples import Origin
from fleet.model.attempt import Answer, Features, Usage

JOBS = 400
DIGEST = "d" * 64


def answer(text: str, sure: float) -> Answer:
    features = Features(-sure, -sure / 5, -sure, -sure, -sure / 2, 5, 8.0 - sure, sure / 3)
    return Answer({"role": "assistant", "content": text}, "stop", Usage(51, 5), SMALL, features)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """The base knows one in eight and does not know which; the adapter knows nearly all, and when it does not."""
    found = []
    for place, example in enumerate(examples("heldout", 7, JOBS, TASK)):
        strong = answer(example.answer, 0.001)
        small = strong if place % 8 == 0 else answer("Both: nothing", 1.0 + place % 3)
        small = replace(small, features=answer("", 1.0 + place % 3).features)
        taught = answer("Both: nothing", 3.0) if place % 10 == 0 else answer(example.answer, 0.01)
        found.append(Row(job_of(example, 0, 0, place, JOBS), example, small, strong, taught))
    return found


def test_without_a_calibration_every_job_escalates_and_its_answers_are_a_lesson(rows):
    decided = [decide(row, {}, None) for row in rows]
    week = figures("first", rows, decided)
    assert (week.escalated, week.right, week.risk, week.taught) == (1.0, 1.0, 0.0, 0.0)
    found = collected(rows, decided)
    assert {(each.origin, each.doubted) for each in found if each.origin is Origin.ESCALATED} == {
        (Origin.ESCALATED, (SMALL,))
    }
    assert len(found) == sum(row.is_for_training for row in rows)


def test_an_answer_with_the_adapter_is_judged_by_its_own_calibration(rows):
    in_force = calibrated(rows, DIGEST, {}, 0.0)
    assert {key.adapter for key in in_force} == {DIGEST}
    base, taught = ([decide(row, in_force, adapter) for row in rows] for adapter in (None, DIGEST))
    assert figures("base", rows, base).escalated == 1.0
    week = figures("taught", rows, taught)
    assert week.taught == 1.0
    assert week.escalated == pytest.approx(0.1, abs=0.02)
    assert week.usd_per_thousand < figures("base", rows, base).usd_per_thousand
    assert sum(map(is_lost, rows, taught)) == round(week.risk * JOBS)


def test_labels_say_whether_an_answer_says_what_the_strong_one_says(rows):
    assert sum(each.good for each in labels(rows, None)) == JOBS / 8
    assert sum(each.good for each in labels(rows, DIGEST)) == 0.9 * JOBS


def test_a_tenth_of_the_jobs_is_answered_with_the_adapter_until_it_is_promoted(rows):
    roll_out = RollOut("trial", DIGEST)
    decided = roll_out.week(rows, calibrated(rows, DIGEST, {}, 0.0))
    first = [
        each for row, each in zip(rows, decided, strict=True) if row.job.submitted_at < rows[JOBS // 8].job.submitted_at
    ]
    assert 0 < sum(each.attempts[0].adapter is not None for each in first) < 0.3 * len(first)
    assert roll_out.stopped is None
