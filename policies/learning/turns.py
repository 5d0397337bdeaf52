"""The steps of a turn: it begins beside others, takes one step after the other, and ends or is undone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from fleet.model.errors import InvalidTurn
from fleet.model.experiment import Experiment, Stage
from fleet.model.turn import TURN_NAME, DoneStep, Turn, TurnStage, TurnStep

WEEK_SECONDS: Final = 7 * 86_400.0

ORDER: Final = tuple(TurnStep)

CHANGES_JOBS: Final = (TurnStep.ROLLED_OUT, TurnStep.PROMOTED)
"""The steps from which on some jobs are answered in another way."""

UNDOING: Final[Mapping[TurnStep, str]] = {
    TurnStep.PROMOTED: "what was stable before answers again",
    TurnStep.ROLLED_OUT: "the experiment stops, and its jobs go on as all others",
    TurnStep.RECALIBRATED: "nothing: a calibration of an adapter that answers no job judges nothing",
    TurnStep.TRIED: "nothing: what the gates found stays on record",
    TurnStep.REGISTERED: "the adapter is on trial no more; the version stays",
    TurnStep.TRAINED: "nothing: the files stay in the turn's folder",
    TurnStep.EXPORTED: "nothing: the files stay in the turn's folder",
    TurnStep.COLLECTED: "nothing: it only counted",
}
"""What undoing a step does."""


def begun(turn: Turn, others: Iterable[Turn], experiments: Iterable[Experiment], now: float) -> Turn:
    """Return the turn as it begins beside these.

    Raises: InvalidTurn if its name is taken, or its tenants' task is in another turn or in an experiment, or was
    changed within a week.
    """
    if TURN_NAME.fullmatch(turn.name) is None:
        raise InvalidTurn("name", f"must match {TURN_NAME.pattern}")
    if not turn.tenants:
        raise InvalidTurn("tenants", "needs at least one name: only who agreed is learned from")
    others = tuple(others)
    if any(other.name == turn.name for other in others):
        raise InvalidTurn("name", f"{turn.name!r} is taken: what a turn did is found by its name")
    if (why := barred(turn.task, turn.tenants, others, experiments, now)) is not None:
        raise InvalidTurn("task", why)
    return replace(turn, done=(), stage=TurnStage.RUNNING, why=None, changed_at=now)


def barred(
    task: str, tenants: frozenset[str], others: Iterable[Turn], experiments: Iterable[Experiment], now: float
) -> str | None:
    """Return why no turn for this task of these tenants may begin now; None if one may."""
    for other in others:
        if other.task != task or not other.tenants & tenants:
            continue
        if other.stage is TurnStage.RUNNING:
            return f"the turn {other.name!r} is under way for it"
        if (at := changed_jobs_at(other)) is not None and now - at < WEEK_SECONDS:
            days = (WEEK_SECONDS - (now - at)) / 86_400.0
            return f"the turn {other.name!r} changed it within a week: the next may begin in {days:.1f} days"
    for each in experiments:
        if each.stage is not Stage.STOPPED and _concerns(each, task, tenants):
            return f"the experiment {each.name!r} is {each.stage} on it"
    return None


def _concerns(experiment: Experiment, task: str, tenants: frozenset[str]) -> bool:
    of_task = experiment.tasks is None or task in experiment.tasks
    return of_task and (experiment.tenants is None or bool(experiment.tenants & tenants))


def tried_before(target: str, task: str, tenants: frozenset[str], others: Iterable[Turn]) -> float:
    """Return when the last turn with such a lesson began that came to an adapter; 0 if none did.

    What it learnt is no reason to try again: the same rows fail the same gates, and pass them by luck in the end.
    """
    same = (other for other in others if (other.target, other.task) == (target, task) and other.tenants & tenants)
    began = (other.of(TurnStep.COLLECTED) for other in same if other.of(TurnStep.REGISTERED) is not None)
    return max((each.at for each in began if each is not None), default=0.0)


def changed_jobs_at(turn: Turn) -> float | None:
    """Return when the turn last changed how jobs are answered, by its end too; None if it never did."""
    changes = [each.at for each in turn.done if each.step in CHANGES_JOBS]
    if not changes:
        return None
    return max(changes) if turn.stage in (TurnStage.RUNNING, TurnStage.PROMOTED) else max(*changes, turn.changed_at)


def next_step(turn: Turn) -> TurnStep | None:
    """Return the step that is due; None for a turn that has ended."""
    if turn.stage is not TurnStage.RUNNING:
        return None
    return ORDER[len(turn.done)]


def taken(turn: Turn, step: TurnStep, evidence: Mapping[str, Any], others: Iterable[Turn], now: float) -> Turn:
    """Return the turn after this step; as it is if the step was done meanwhile, by another runner.

    Raises: InvalidTurn if the turn has ended, if another step is due, or if another turn changed the same jobs within
    a week.
    """
    if turn.of(step) is not None:
        return turn
    if turn.stage is not TurnStage.RUNNING:
        raise InvalidTurn("stage", f"{turn.name!r} must be running, and is {_ended(turn)}")
    if step is not next_step(turn):
        raise InvalidTurn("step", f"the next of {turn.name!r} is {next_step(turn)}, and not {step}")
    if step is TurnStep.ROLLED_OUT:
        rest = [other for other in others if other.name != turn.name]
        if (why := barred(turn.task, turn.tenants, rest, (), now)) is not None:
            raise InvalidTurn("task", why)
    stage = TurnStage.PROMOTED if step is TurnStep.PROMOTED else turn.stage
    return replace(turn, done=(*turn.done, DoneStep(step, now, evidence)), stage=stage, changed_at=now)


def stopped(turn: Turn, why: str, now: float) -> Turn:
    """Return the turn at its end, because something spoke against it. One that has ended stays as it is."""
    if turn.stage is not TurnStage.RUNNING:
        return turn
    return replace(turn, stage=TurnStage.STOPPED, why=why, changed_at=now)


def to_undo(turn: Turn) -> Sequence[TurnStep]:
    """Return the steps that are to be undone, the last one first. Raises: InvalidTurn if it was undone before."""
    if turn.stage is TurnStage.UNDONE:
        raise InvalidTurn("stage", f"{turn.name!r} was undone before ({turn.why})")
    return [each.step for each in reversed(turn.done)]


def undone(turn: Turn, why: str, now: float) -> Turn:
    """Return the turn after all its steps are undone; what they found stays on record."""
    to_undo(turn)
    return replace(turn, stage=TurnStage.UNDONE, why=why, changed_at=now)


def _ended(turn: Turn) -> str:
    return f"{turn.stage} ({turn.why})" if turn.why else str(turn.stage)
