"""Questions asked again: which ones, and what their answers say of chance."""

from __future__ import annotations

from dataclasses import replace

import pytest
from labelled import evidence

from fleet.lab.learning.collected import CollectedLabels, LabelledAnswer, Unused, key_of
from fleet.lab.weekly.answers import OneAnswer, WeekOfAnswers
from fleet.lab.weekly.fell import servable
from fleet.lab.weekly.redraws import Redrawn, redrawn, to_redraw
from fleet.model.calibration import OutputKind
from fleet.model.redraw import is_redraw, redraw_of
from policies.training import TrainingRules

NOON = 1_773_144_000.0
"""2026-03-10, in unix seconds."""
DAYS = ("2026-03-08", "2026-03-14")


def label(number: int, good: bool = False, strong_good: bool | None = True, tenant: str = "acme") -> LabelledAnswer:
    job = f"{tenant}.job-{number:012d}"
    return LabelledAnswer(
        "small", "t", OutputKind.TOKEN, job, evidence(-0.1), good, strong_good, "large", propensity=1.0, at=NOON
    )


def again(first: LabelledAnswer, good: bool) -> LabelledAnswer:
    tenant, job_id = key_of(first.job)
    return replace(first, job=f"{tenant}.{redraw_of(tenant, job_id)}", good=good)


def test_a_question_is_asked_again_once_and_under_one_id() -> None:
    assert redraw_of("acme", "job-1") == redraw_of("acme", "job-1") != redraw_of("globex", "job-1")
    assert is_redraw(redraw_of("acme", "job-1")) and not is_redraw("redraw-of-a-painting")


def test_decisive_answers_of_the_tenant_and_the_week_are_asked_again_and_no_others() -> None:
    first, second = label(1), label(2)
    others = [label(3, good=True), label(4, strong_good=None), label(5, tenant="globex"), replace(label(6), at=0.0)]
    unheard = replace(label(7), propensity=None)
    labels = [first, again(first, good=True), second, *others, unheard]
    assert to_redraw(labels, "acme", *DAYS, most=9) == [second]
    many = [label(number) for number in range(100, 150)]
    assert len(to_redraw(many, "acme", *DAYS, most=9)) == 9
    assert to_redraw(many, "acme", *DAYS, most=9) == to_redraw(many[::-1], "acme", *DAYS, most=9)


def test_what_came_out_again_is_counted_by_target_and_task() -> None:
    firsts = [label(number) for number in range(10)]
    seconds = [again(each, good=number < 3) for number, each in enumerate(firsts)]
    found = redrawn([*firsts, *seconds, label(99)])
    assert dict(found) == {("small", "t"): Redrawn(10, 7)}
    assert found["small", "t"].missing == 10


def test_the_steady_share_is_what_is_lost_and_would_be_again() -> None:
    rows = [
        OneAnswer(0.4, False, "low_confidence", True, 1.0, 9.0, 0.0, number % 5 > 0, True, 1.0) for number in range(400)
    ]
    week = WeekOfAnswers.of("small", "t", 0.05, rows)
    found = servable(week, Redrawn(60, 50))
    assert found.again is not None and found.again.value == pytest.approx(5 / 6)
    assert found.steady is not None and found.steady.value == pytest.approx(0.2 * 5 / 6)
    assert found.steady.low < found.again.low * 0.2 and found.steady.high > 0.2 * 5 / 6
    few = servable(week, Redrawn(5, 5))
    assert (few.again, few.steady, few.redraws_missing) == (None, None, 15)


def test_a_question_asked_again_calibrates_nothing() -> None:
    first = label(1)
    found = CollectedLabels((first, again(first, good=False)), {}).for_calibration(TrainingRules())
    assert found.labels == (first,) and found.unused == {Unused.REDRAW: 1}
