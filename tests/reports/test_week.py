"""The weekly report reads the books: what was kept, what went on, and what that cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from accounts import Accounts, JobOf, again, call, failed, job_id_of, nano
from labelled import evidence

from fleet.lab.learning.collected import LabelledAnswer
from fleet.model.attempt import Attempt
from fleet.model.calibration import OutputKind
from fleet.model.reason import Reason
from fleet.model.redraw import redraw_of
from fleet.model.result import Status
from fleet.reports.periods import Period, days_until
from fleet.reports.week import WeekReport, week_report
from policies.rules.rules import Rules

WEEK, WINDOW = Period("2026-03-08", "2026-03-14"), Period("2026-02-01", "2026-03-14")
IN_WEEK, BEFORE = 9, 2
SIMPLE = JobOf()
SMALL, LARGE = nano("small", 1000, 100) * 1e-9, nano("large", 1000, 100) * 1e-9


def climbed(confidence: float = 0.4) -> tuple[Attempt, Attempt]:
    return replace(call("small"), confidence=confidence), call("large", number=2)


def label(number: int, good: bool, target: str = "small", propensity: float = 1.0) -> LabelledAnswer:
    job = f"acme.{job_id_of(number)}"
    return LabelledAnswer(
        target, SIMPLE.task, OutputKind.TOKEN, job, evidence(-0.1), good, True, "large", propensity=propensity
    )


def report_of(accounts: Accounts, rules: Rules, *labels: LabelledAnswer) -> WeekReport:
    return week_report(accounts.books(), WEEK, WINDOW, rules, labels)


def test_a_job_that_climbed_fell_through_once_and_cost_what_came_after(accounts: Accounts, rules: Rules) -> None:
    for number in range(3):
        accounts.book(IN_WEEK, SIMPLE.lines(number, *climbed()))
    accounts.book(IN_WEEK, SIMPLE.lines(7, call("small")))
    [fell] = report_of(accounts, rules).fell
    assert (fell.target, fell.task, fell.reason, fell.jobs) == ("small", SIMPLE.task, "low_confidence", 3)
    assert fell.usd == pytest.approx(3 * LARGE)


def test_calls_that_failed_on_the_way_up_are_part_of_it(accounts: Accounts, rules: Rules) -> None:
    small, large = climbed()
    lines = SIMPLE.lines(1, small, failed("large", 5000, number=2), replace(large, number=3))
    accounts.book(IN_WEEK, lines)
    [fell] = report_of(accounts, rules).fell
    assert fell.usd == pytest.approx(5000e-9 + LARGE)


def test_known_answers_comparisons_and_best_efforts_are_nobodys_decision(accounts: Accounts, rules: Rules) -> None:
    accounts.book(IN_WEEK, SIMPLE.lines(1, again("small")))
    accounts.book(IN_WEEK, [*SIMPLE.lines(2, call("small")), SIMPLE.comparison(2, call("big", number=2))])
    accounts.book(IN_WEEK, SIMPLE.lines(3, call("big"), status=Status.BEST_EFFORT, reason=Reason.LADDER_EXHAUSTED))
    found = report_of(accounts, rules)
    assert (found.answers, found.fell) == (1, ())
    assert found.usd == pytest.approx(SMALL)


def test_a_question_asked_again_is_no_traffic_and_tells_what_is_chance(accounts: Accounts, rules: Rules) -> None:
    second = redraw_of("acme", job_id_of(1))
    accounts.book(IN_WEEK, SIMPLE.lines(1, *climbed()))
    accounts.book(IN_WEEK, [replace(line, job_id=second) for line in SIMPLE.lines(2, *climbed())])
    first = label(1, good=False)
    found = report_of(accounts, rules, first, replace(first, job=f"acme.{second}"))
    assert (found.answers, found.servable[0].redrawn, found.servable[0].redraws_missing) == (2, 1, 19)


def test_answers_of_an_adapter_are_told_from_those_of_its_base(accounts: Accounts, rules: Rules) -> None:
    small, large = climbed()
    accounts.book(IN_WEEK, SIMPLE.lines(1, small, large))
    accounts.book(IN_WEEK, SIMPLE.lines(2, replace(small, adapter="ab" * 32), large))
    assert {(each.target, each.version, each.jobs) for each in report_of(accounts, rules).fell} == {
        ("small", "", 1),
        ("small", "ab" * 32, 1),
    }


def test_a_job_that_ends_after_midnight_is_one_job(accounts: Accounts, rules: Rules) -> None:
    first, last = SIMPLE.lines(1, *climbed())
    accounts.book(IN_WEEK, [first])
    accounts.book(IN_WEEK + 1, [last])
    [fell] = report_of(accounts, rules).fell
    assert (fell.jobs, fell.usd) == (1, pytest.approx(LARGE))


def test_labels_of_the_week_judge_what_went_on_and_those_of_the_window_what_was_kept(
    accounts: Accounts, rules: Rules
) -> None:
    for number in range(150):
        accounts.book(BEFORE, SIMPLE.lines(1000 + number, call("small")))
        accounts.book(BEFORE, SIMPLE.lines(2000 + number, *climbed()))
    accounts.book(IN_WEEK, [line for number in range(150) for line in SIMPLE.lines(number, *climbed())])
    accounts.archive()
    labels = [label(number + base, good=number % 10 > 0) for number in range(150) for base in (0, 1000, 2000)]
    found = report_of(accounts, rules, *labels)
    [told] = found.servable
    assert (told.jobs, told.judged) == (150, 150)
    assert told.share is not None and told.share.value == pytest.approx(0.9)
    assert found.answers == 300  # both rungs of 150 jobs


def test_a_report_without_traffic_or_labels_says_so_in_numbers(accounts: Accounts, rules: Rules) -> None:
    empty = report_of(accounts, rules)
    assert (empty.answers, empty.usd, empty.fell, empty.changes) == (0, 0, (), ())
    accounts.book(IN_WEEK, SIMPLE.lines(1, *climbed()))
    [told] = report_of(accounts, rules).servable
    assert told.share is None and told.labels_missing == 100


def test_a_week_ends_with_its_last_day() -> None:
    assert days_until("2026-03-14", 7, 0.0) == WEEK
    assert days_until(None, 1, 86_400.0) == Period("1970-01-02", "1970-01-02")
