"""What counts as a pair to teach, and to whom."""

from __future__ import annotations

from dataclasses import replace

from training_examples import LARGE, SMALL, TASK, example

from fleet.cli.learn.lessons import lessons_in
from fleet.lab.data.examples import Origin, Source, Teacher
from fleet.lab.data.licences import load_licences
from fleet.model.turn import DoneStep, Turn, TurnStep
from policies.learning.worth import Lesson

ACME = frozenset({"acme"})
ESCALATED = replace(example(1), doubted=(SMALL, "mixtral-8x7b"))


def lessons(*examples, teachable=(SMALL,), others=()):
    return lessons_in(examples, load_licences(None), frozenset(teachable), ACME, others)


def test_a_pair_is_for_the_first_target_that_was_asked_and_takes_adapters():
    assert lessons(ESCALATED, replace(ESCALATED, doubted=("mixtral-8x7b", SMALL))) == [Lesson(SMALL, TASK, ACME, 2)]
    assert lessons(ESCALATED, teachable=()) == [Lesson(SMALL, TASK, ACME, 1)]


def test_what_did_not_escalate_may_not_be_learnt_or_is_another_tenants_is_no_pair():
    stranger = replace(ESCALATED, sources=(Source("globex", "job-1", 1.0),))
    forbidden = replace(ESCALATED, teacher=Teacher("gpt-4o", "openai", "gpt-4o"))
    agreed = replace(ESCALATED, origin=Origin.AGREED)
    edited = replace(example(2), origin=Origin.EDITED)
    assert lessons(stranger, forbidden, agreed, edited) == []
    assert lessons(replace(ESCALATED, teacher=Teacher(LARGE, "fleet", LARGE))) != []


def test_pairs_that_a_turn_came_to_an_adapter_with_are_no_reason_for_another():
    old, new = (replace(ESCALATED, sources=(Source("acme", "job-1", at),)) for at in (99.0, 101.0))
    done = (DoneStep(TurnStep.COLLECTED, 100.0), DoneStep(TurnStep.REGISTERED, 110.0))
    turn = Turn("schedule-1", SMALL, TASK, ACME, done)
    assert lessons(old, old, new, others=[turn]) == [Lesson(SMALL, TASK, ACME, 1)]
    assert lessons(old, others=[turn]) == [Lesson(SMALL, TASK, ACME, 0)]
    others = [replace(turn, done=done[:1]), replace(turn, target=LARGE), replace(turn, tenants=frozenset({"globex"}))]
    assert lessons(old, others=others) == [Lesson(SMALL, TASK, ACME, 1)]
