"""The table of tasks: what each rung is worth, and the ladders that keep a promise."""

from __future__ import annotations

from dataclasses import replace

import pytest
from accounts import Accounts, JobOf, call, job_id_of
from labelled import evidence

from fleet.lab.learning.collected import LabelledAnswer
from fleet.lab.trials import Trial
from fleet.lab.weekly.changes import Verdict
from fleet.model.calibration import OutputKind
from fleet.model.errors import ConfigError
from fleet.reports.periods import Period
from fleet.reports.table import FirstRung, TaskTable, began_at, experiment_of, task_table
from policies.rules.rules import Rules

WINDOW = Period("2026-02-01", "2026-03-14")
TASK = "classify.intent"
PROMISE = (0.05, 0.1)


def label(number: int, good: bool, strong_good: bool = True, propensity: float | None = 1.0) -> LabelledAnswer:
    job = f"acme.{job_id_of(number)}"
    return LabelledAnswer(
        "small", TASK, OutputKind.TOKEN, job, evidence(-0.1), good, strong_good, "large", propensity=propensity
    )


def book(accounts: Accounts, kept: int, climbed: int) -> None:
    """The small model's answers to the task: some kept, and some not."""
    accounts.book(2, [line for n in range(kept) for line in JobOf().lines(n, call("small"))])
    small = replace(call("small"), confidence=0.4)
    jobs = range(kept, kept + climbed)
    accounts.book(2, [line for n in jobs for line in JobOf().lines(n, small, call("large", number=2))])


def table(accounts: Accounts, rules: Rules, *labels: LabelledAnswer) -> TaskTable:
    return task_table(accounts.books(), WINDOW, rules, labels, PROMISE)


def test_a_rung_is_worth_what_its_kept_and_its_doubted_answers_are(accounts: Accounts, rules: Rules) -> None:
    book(accounts, kept=150, climbed=450)
    labels = [label(n, good=n % 10 > 0) for n in range(150)] + [label(n, good=n % 2 > 0) for n in range(150, 600)]
    [large, small] = sorted(table(accounts, rules, *labels).rungs, key=lambda each: each.target)
    assert (small.answers, small.judged, small.kept) == (600, 600, 0.25)
    assert small.good is not None
    assert small.good.value == pytest.approx(0.25 * 0.9 + 0.75 * 0.5)
    assert small.good.low < small.good.value < small.good.high
    assert small.usd == pytest.approx(call("small").cost_usd)
    assert (large.good, large.labels_missing) == (None, 100)


def test_what_users_dislike_is_counted_and_proves_nothing(accounts: Accounts, rules: Rules) -> None:
    book(accounts, kept=10, climbed=0)
    [small] = table(accounts, rules, label(1, good=False, propensity=None), label(2, good=True, propensity=None)).rungs
    assert (small.disliked, small.judged, small.good) == (1, 0, None)


def test_a_rung_that_keeps_a_little_is_not_left_out_before_that_is_judged(accounts: Accounts, rules: Rules) -> None:
    book(accounts, kept=6, climbed=594)
    labels = [label(n, good=True) for n in range(6)]
    found = table(accounts, rules, *labels)
    assert {each.verdict for each in found.changes} == {Verdict.LABELS_MISSING}
    assert found.ladders == {}
    found = table(accounts, rules, *labels, *(label(n, good=False) for n in range(6, 600)))
    assert found.ladders == {}  # six kept answers say too little of kept answers, however many others are judged


def test_a_rung_that_keeps_nothing_needs_no_labels(accounts: Accounts, rules: Rules) -> None:
    book(accounts, kept=0, climbed=300)
    found = table(accounts, rules)
    assert found.ladders == {TASK: ["large", "mini", "big"]}
    document = experiment_of(found.ladders, "2026-03-14", Trial(), rules)
    assert document["tasks"] == [TASK] and document["name"] == "table-20260314"
    assert document["arms"]["candidate"]["rules"] == {"phases": {"only": {"tasks": found.ladders}}}


def test_without_a_ladder_there_is_no_experiment(rules: Rules) -> None:
    with pytest.raises(ConfigError, match="no ladder is proposed"):
        experiment_of({}, "2026-03-14", Trial(), rules)


def test_ladders_begin_with_the_target_chosen(rules: Rules) -> None:
    chosen = {TASK: "large", "extract.fields": "small", "plan.schedule": "small", "chat": "big", "play.chess": "big"}
    ladders, unsaid = began_at(chosen, rules)
    assert ladders == {TASK: ("large", "mini", "big"), "plan.schedule": ("small", "large", "mini", "big")}
    assert set(unsaid) == {"chat", "play.chess"}


def test_a_first_rung_may_have_a_budget_of_tokens(rules: Rules) -> None:
    ladders, _ = began_at({TASK: "small@40", "plan.schedule": "large@64"}, rules)
    assert ladders == {TASK: ("small@40", "large", "mini", "big"), "plan.schedule": ("large@64", "mini", "big")}
    changes = experiment_of(ladders, "2026-03-14", Trial(), rules)["arms"]["candidate"]["rules"]
    assert changes["phases"]["only"]["tasks"][TASK] == ["small", "large", "mini", "big"]
    assert changes["tasks"][TASK] == {"diet": {"answers": {"small": {"tokens": 40}}}}
    short, whole = (FirstRung.named(name).usd(rules) for name in ("small@40", "small"))
    assert short is not None and whole is not None and short < whole
    assert FirstRung.named("gone@40").usd(rules) is FirstRung.named("small@0").usd(rules) is None


@pytest.mark.parametrize("promise", [(0.0, 0.1), (0.05, 1.0)])
def test_a_promise_that_makes_no_sense_is_refused(
    accounts: Accounts, rules: Rules, promise: tuple[float, float]
) -> None:
    with pytest.raises(ConfigError, match="--guarantee: must be two numbers between 0 and 1"):
        task_table(accounts.books(), WINDOW, rules, (), promise)
