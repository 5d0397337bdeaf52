"""The choice of what to teach: which task of which tenants, to which target, and why not the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleet.model.adapter import RegisteredAdapter
from fleet.model.experiment import Experiment
from fleet.model.turn import Turn
from policies.experiments.checks import meet
from policies.learning.turns import barred


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one target may learn of one task: so many new `pairs` of a question and the answer of a stronger target.

    All are of jobs that the target answered, that went on to the stronger one, and that nobody complained about.
    """

    target: str
    task: str
    tenants: frozenset[str]
    pairs: int


@dataclass(frozen=True, slots=True)
class Judged:
    """A lesson, and why no turn begins with it; None: one does."""

    lesson: Lesson
    why_not: str | None


def judge(
    lessons: Iterable[Lesson],
    teachable: frozenset[str],
    goal: int,
    turns: Iterable[Turn],
    experiments: Iterable[Experiment],
    now: float,
    adapters: Iterable[RegisteredAdapter] = (),
) -> Sequence[Judged]:
    """Say of each lesson whether a turn begins with it, the one with most pairs first; each task has one turn.

    `teachable` are the targets that take adapters, `goal` is the number of pairs wanted (rules: training). `adapters`
    are those that are registered: a job has one at most.
    """
    turns, experiments, adapters = tuple(turns), tuple(experiments), tuple(adapters)
    found: list[Judged] = []
    chosen: dict[str, Lesson] = {}
    for lesson in sorted(lessons, key=lambda each: (-each.pairs, each.task, each.target)):
        why = (
            _why_not(lesson, teachable, goal)
            or _in_the_way(lesson, adapters)
            or barred(lesson.task, lesson.tenants, turns, experiments, now)
        )
        if why is None and (first := chosen.get(lesson.task)) is not None and first.tenants & lesson.tenants:
            why = f"{first.target} is taught it first: one change at a time"
        if why is None:
            chosen[lesson.task] = lesson
        found.append(Judged(lesson, why))
    return found


def _why_not(lesson: Lesson, teachable: frozenset[str], goal: int) -> str | None:
    if lesson.target not in teachable:
        return f"{lesson.target} takes no adapters"
    if lesson.pairs < goal:
        return f"{lesson.pairs:,} new pairs of {goal:,} wanted (rules: training.goal)"
    return None


def _in_the_way(lesson: Lesson, adapters: Iterable[RegisteredAdapter]) -> str | None:
    """Return which adapter has some of these jobs and others, so that the lesson's could not be registered."""
    for each in adapters:
        is_of_task = each.target == lesson.target and lesson.task in each.tasks
        is_same = each.tasks == {lesson.task} and each.tenants == lesson.tenants
        if is_of_task and meet(each.tenants, lesson.tenants) and not is_same:
            whose = "all tenants" if each.tenants is None else ", ".join(sorted(each.tenants))
            rule = "remove it (fleet adapters remove), or teach for the same ones (--tenant)"
            return f"the adapter {each.name!r} is for {', '.join(sorted(each.tasks))} of {whose}: {rule}"
    return None
