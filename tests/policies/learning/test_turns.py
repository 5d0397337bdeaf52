"""When a turn may begin, which step is next, and what takes it back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.model.errors import InvalidTurn
from fleet.model.experiment import Arm, Experiment, Stage, Unit
from fleet.model.turn import Turn, TurnStage, TurnStep
from policies.learning.turns import (
    UNDOING,
    WEEK_SECONDS,
    begun,
    changed_jobs_at,
    next_step,
    stopped,
    taken,
    to_undo,
    undone,
)

NOW = 1_800_000_000.0
ACME = frozenset({"acme"})
TURN = Turn("schedule-1", "llama-8b", "plan.schedule", ACME)


def after(*steps: TurnStep, turn: Turn = TURN, at: float = NOW) -> Turn:
    running = replace(turn, stage=TurnStage.RUNNING, done=(), changed_at=at)
    for step in steps:
        running = taken(running, step, {"n": 1}, (), at)
    return running


ROLLED_OUT = after(*list(TurnStep)[:7])
PROMOTED = after(*TurnStep)


def refusal(do, *arguments) -> tuple[str, str]:
    with pytest.raises(InvalidTurn) as refused:
        do(*arguments)
    return refused.value.field, refused.value.rule


def test_a_turn_takes_every_step_in_order_and_is_then_promoted():
    turn, seen = begun(TURN, (), (), NOW), []
    while (step := next_step(turn)) is not None:
        seen.append(step)
        turn = taken(turn, step, {"of": str(step)}, (), NOW + len(seen))
    assert seen == list(TurnStep)
    assert (turn.stage, turn.changed_at) == (TurnStage.PROMOTED, NOW + 8)
    assert [(each.at, each.evidence) for each in turn.done[:2]] == [
        (NOW + 1, {"of": "collected"}),
        (NOW + 2, {"of": "exported"}),
    ]


@pytest.mark.parametrize(
    ("wrong", "field", "rule"),
    [
        ({"name": "No Spaces"}, "name", "must match"),
        ({"name": "other"}, "name", "'other' is taken"),
        ({"tenants": frozenset()}, "tenants", "at least one name"),
    ],
)
def test_what_is_wrong_with_a_new_turn_is_named(wrong, field, rule):
    ended = stopped(replace(TURN, name="other"), "no gain", NOW)
    found = refusal(begun, replace(TURN, **wrong), (ended,), (), NOW)
    assert found[0] == field
    assert rule in found[1]


@pytest.mark.parametrize(
    ("other", "later", "why"),
    [
        (after(TurnStep.COLLECTED), 0.0, "is under way"),
        (PROMOTED, WEEK_SECONDS - 60.0, "within a week: the next may begin in 0.0 days"),
        (PROMOTED, WEEK_SECONDS, None),
        (undone(PROMOTED, "by hand", NOW + 86_400.0), WEEK_SECONDS, "within a week: the next may begin in 1.0 days"),
        (stopped(ROLLED_OUT, "worse", NOW + 86_400.0), 2 * 86_400.0, "within a week"),
        (stopped(after(TurnStep.COLLECTED), "no gain", NOW), 60.0, None),
        (after(TurnStep.COLLECTED, turn=replace(TURN, task="chat")), 0.0, None),
        (after(TurnStep.COLLECTED, turn=replace(TURN, tenants=frozenset({"globex"}))), 0.0, None),
        (after(TurnStep.COLLECTED, turn=replace(TURN, target="llama-70b")), 0.0, "is under way"),
    ],
)
def test_one_task_of_a_tenant_is_changed_once_a_week(other, later, why):
    new = replace(TURN, name="schedule-2", tenants=frozenset({"acme", "initech"}))
    if why is None:
        assert begun(new, (other,), (), NOW + later).stage is TurnStage.RUNNING
    else:
        field, rule = refusal(begun, new, (other,), (), NOW + later)
        assert field == "task"
        assert why in rule


@pytest.mark.parametrize(
    ("changes", "is_barred"),
    [
        ({}, True),
        ({"tasks": frozenset({"plan.schedule"}), "stage": Stage.PROMOTED}, True),
        ({"tasks": frozenset({"chat"})}, False),
        ({"tenants": frozenset({"globex"})}, False),
        ({"stage": Stage.STOPPED}, False),
    ],
)
def test_no_turn_begins_where_an_experiment_is(changes, is_barred):
    experiment = replace(Experiment("trial", Unit.TENANT, (Arm("a", 0.1, target="llama-8b"),)), **changes)
    if is_barred:
        assert "'trial' is" in refusal(begun, TURN, (), (experiment,), NOW)[1]
    else:
        assert begun(TURN, (), (experiment,), NOW).changed_at == NOW


def test_a_step_done_by_another_runner_meanwhile_changes_nothing():
    turn = after(TurnStep.COLLECTED)
    assert taken(turn, TurnStep.COLLECTED, {"n": 2}, (), NOW + 1) is turn


def test_a_step_out_of_order_or_after_the_end_is_refused():
    assert refusal(taken, after(TurnStep.COLLECTED), TurnStep.TRAINED, {}, (), NOW)[0] == "step"
    ended = stopped(after(TurnStep.COLLECTED), "the gates say no", NOW)
    assert "stopped (the gates say no)" in refusal(taken, ended, TurnStep.EXPORTED, {}, (), NOW)[1]
    assert next_step(ended) is None
    assert stopped(ended, "again", NOW + 1) is ended


def test_no_roll_out_begins_within_a_week_of_another_change():
    ready = after(*list(TurnStep)[:6])
    other = replace(PROMOTED, name="by-another")
    assert "within a week" in refusal(taken, ready, TurnStep.ROLLED_OUT, {}, (ready, other), NOW + 60.0)[1]
    assert taken(ready, TurnStep.ROLLED_OUT, {}, (ready,), NOW).of(TurnStep.ROLLED_OUT) is not None


def test_undoing_goes_back_from_the_last_step_and_says_what_each_does():
    steps = to_undo(PROMOTED)
    assert list(steps) == list(reversed(TurnStep))
    assert set(UNDOING) == set(TurnStep)
    back = undone(PROMOTED, "by hand", NOW + 5)
    assert (back.stage, back.why, back.done) == (TurnStage.UNDONE, "by hand", PROMOTED.done)
    assert refusal(undone, back, "again", NOW)[0] == "stage"


def test_only_what_reached_jobs_counts_as_a_change():
    assert changed_jobs_at(after(*list(TurnStep)[:6])) is None
    assert changed_jobs_at(ROLLED_OUT) == NOW
    assert changed_jobs_at(stopped(ROLLED_OUT, "worse", NOW + 9)) == NOW + 9
