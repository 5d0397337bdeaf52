"""What counts as a pair to teach, and to whom."""

from __future__ import annotations

from dataclasses import replace

from training_examples import LARGE, SMALL, TASK, example

from fleet.cli.learn.lessons import lessons_in
from fleet.lab.data.examples import Origin, Source, Teacher
from fleet.lab.data.licences import load_licences
from policies.learning.worth import Lesson

ACME = frozenset({"acme"})
ESCALATED = replace(example(1), doubted=(SMALL, "mixtral-8x7b"))


def lessons(*examples, teachable=(SMALL,)):
    return lessons_in(examples, load_licences(None), frozenset(teachable), ACME)


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
