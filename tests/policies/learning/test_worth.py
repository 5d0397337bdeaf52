"""What is worth teaching, and why the rest is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.model.adapter import RegisteredAdapter
from fleet.model.experiment import Arm, Experiment, Unit
from fleet.model.turn import Turn
from policies.learning.worth import Lesson, judge

NOW = 1_800_000_000.0
SCHEDULER = RegisteredAdapter("scheduler", "llama-8b", frozenset({"plan.schedule"}), frozenset({"acme"}))
LESSON = Lesson("llama-8b", "plan.schedule", frozenset({"acme"}), 1_200)


def judged(*lessons: Lesson, turns=(), experiments=(), adapters=()) -> dict[tuple[str, str], str | None]:
    found = judge(lessons, frozenset({"llama-8b", "llama-70b"}), 1_000, turns, experiments, NOW, adapters)
    return {(each.lesson.task, each.lesson.target): each.why_not for each in found}


def test_enough_pairs_are_worth_a_turn_and_too_few_are_not():
    few = replace(LESSON, task="chat", pairs=999)
    assert judged(LESSON, few) == {
        ("plan.schedule", "llama-8b"): None,
        ("chat", "llama-8b"): "999 new pairs of 1,000 wanted (rules: training.goal)",
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


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (SCHEDULER, None),
        (replace(SCHEDULER, target="llama-70b"), None),
        (replace(SCHEDULER, tasks=frozenset({"chat"})), None),
        (replace(SCHEDULER, tenants=frozenset({"globex"})), None),
        (replace(SCHEDULER, tenants=None), "'scheduler' is for plan.schedule of all tenants"),
        (replace(SCHEDULER, tenants=frozenset({"acme", "globex"})), "'scheduler' is for plan.schedule of acme, globex"),
        (replace(SCHEDULER, tasks=frozenset({"chat", "plan.schedule"})), "'scheduler' is for chat, plan.schedule of"),
    ],
)
def test_nothing_is_taught_that_could_not_be_registered_beside_the_adapters_there_are(there, why):
    found = judged(LESSON, adapters=[there])["plan.schedule", "llama-8b"]
    assert found is None if why is None else why in (found or "")
