"""What is worth teaching, and why the rest is not."""

from __future__ import annotations

from dataclasses import replace

from fleet.model.experiment import Arm, Experiment, Unit
from fleet.model.turn import Turn
from policies.learning.worth import Lesson, judge

NOW = 1_800_000_000.0
LESSON = Lesson("llama-8b", "plan.schedule", frozenset({"acme"}), 1_200)


def judged(*lessons: Lesson, turns=(), experiments=()) -> dict[tuple[str, str], str | None]:
    found = judge(lessons, frozenset({"llama-8b", "llama-70b"}), 1_000, turns, experiments, NOW)
    return {(each.lesson.task, each.lesson.target): each.why_not for each in found}


def test_enough_pairs_are_worth_a_turn_and_too_few_are_not():
    few = replace(LESSON, task="chat", pairs=999)
    assert judged(LESSON, few) == {
        ("plan.schedule", "llama-8b"): None,
        ("chat", "llama-8b"): "999 pairs of 1,000 wanted (rules: training.goal)",
    }


def test_a_target_without_adapters_is_not_taught():
    assert (
        judged(replace(LESSON, target="gpt-4o-mini"))["plan.schedule", "gpt-4o-mini"] == "gpt-4o-mini takes no adapters"
    )


def test_of_two_targets_the_one_with_more_pairs_is_taught_first():
    found = judged(LESSON, replace(LESSON, target="llama-70b", pairs=2_000))
    assert list(found.values()) == [None, "llama-70b is taught it first: one change at a time"]


def test_what_is_under_way_or_on_trial_is_left_alone():
    under_way = Turn("schedule-1", "llama-8b", "plan.schedule", frozenset({"acme", "globex"}))
    trial = Experiment("trial", Unit.TENANT, (Arm("a", 0.1, target="llama-8b"),), tasks=frozenset({"plan.schedule"}))
    assert "under way" in (judged(LESSON, turns=(under_way,))["plan.schedule", "llama-8b"] or "")
    assert "'trial' is running" in (judged(LESSON, experiments=(trial,))["plan.schedule", "llama-8b"] or "")
