"""Shows what is worth teaching, and where each turn stands and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import RenderableType

from fleet.cli.lab.evaluation_view import table_of
from fleet.model.turn import Turn, TurnStage
from policies.learning.turns import next_step
from policies.learning.worth import Judged


def lessons_view(judged: Sequence[Judged]) -> Iterator[RenderableType]:
    """Yield a table of what could be taught, and why no turn begins with it."""
    if not judged:
        yield "nothing that escalated is collected of a tenant that agreed"
        return
    table = table_of("task", "target", "pairs", "")
    table.columns[1].justify = table.columns[-1].justify = "left"
    for each in judged:
        lesson = each.lesson
        table.add_row(lesson.task, lesson.target, f"{lesson.pairs:,}", each.why_not or "a turn begins")
    yield table


def lessons_json(judged: Iterable[Judged]) -> list[dict[str, Any]]:
    return [
        {
            "task": each.lesson.task,
            "target": each.lesson.target,
            "tenants": sorted(each.lesson.tenants),
            "pairs": each.lesson.pairs,
            "why_not": each.why_not,
        }
        for each in judged
    ]


def turns_view(found: Iterable[Turn]) -> Iterator[RenderableType]:
    """Yield a row for each turn, those that run first."""
    turns = sorted(found, key=lambda each: (each.stage is not TurnStage.RUNNING, -each.changed_at))
    if not turns:
        yield "no turn was begun: `fleet learn run`"
        return
    table = table_of("turn", "target", "tenants", "stands", "since", "")
    for column in (1, 2, 3, 4, 5):
        table.columns[column].justify = "left"
    for each in turns:
        since = f"{datetime.fromtimestamp(each.changed_at, UTC):%Y-%m-%d %H:%M}"
        tenants = ", ".join(sorted(each.tenants))
        table.add_row(each.name, each.target, tenants, _stands(each), since, each.why or "")
    yield table


def _stands(turn: Turn) -> str:
    if turn.stage is not TurnStage.RUNNING:
        return str(turn.stage)
    last, due = turn.done[-1].step if turn.done else "begun", next_step(turn)
    return f"{last}, to be {due}".replace("_", " ")
