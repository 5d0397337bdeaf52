"""Takes turns further: begins those that are worth it, does the steps that are due, and undoes turns."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Final

from fleet.cli.learn.doing import ARM, DOING, adapter_of, digest_of
from fleet.cli.learn.parts import Against, Found, Later, Loop
from fleet.model.adapter import Alias
from fleet.model.errors import InvalidTurn
from fleet.model.experiment import Stage
from fleet.model.turn import DoneStep, Turn, TurnStage, TurnStep
from policies.adapters import steps
from policies.experiments import checks
from policies.learning import turns
from policies.learning.worth import Judged, Lesson

Turns = Mapping[str, Turn]

UNDONE_ALIASES: Final = (Alias.CANDIDATE, Alias.PREVIOUS)
"""What the version of a turn that is undone loses beside being stable, or a later roll-back would bring it again."""


async def begin(judged: Sequence[Judged], loop: Loop) -> None:
    """Begin a turn with each lesson that is worth one."""
    for each in judged:
        if each.why_not is None:
            await _begin(each.lesson, loop)


async def _begin(lesson: Lesson, loop: Loop) -> None:
    running = (await loop.stores.experiments.read_all()).values()
    now = loop.now()
    found = {"pairs": lesson.pairs, "tenants": sorted(lesson.tenants)}

    def begun(there: Turns) -> Turn:
        turn = Turn(name_of(lesson, there, now), lesson.target, lesson.task, lesson.tenants)
        return turns.taken(turns.begun(turn, there.values(), running, now), TurnStep.COLLECTED, found, (), now)

    try:
        turn = await loop.stores.turns.change(begun)
    except InvalidTurn as error:  # another runner was faster, or an experiment began meanwhile
        loop.say(f"{lesson.task}: {error.rule}")
        return
    loop.say(f"{turn.name}: begun with {lesson.pairs:,} pairs of {lesson.task} for {lesson.target}")


def name_of(lesson: Lesson, there: Turns, now: float) -> str:
    """Return a new name: the task and the day, with a number where the day has such a turn."""
    day = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d")
    name = f"{re.sub('[^a-z0-9]+', '-', lesson.task.lower()).strip('-')[:40]}-{day}"
    names = (name if number == 1 else f"{name}-{number}" for number in range(1, len(there) + 2))
    return next(each for each in names if each not in there)


async def advance(turn: Turn, loop: Loop, most: int | None = None) -> Turn:
    """Do the steps of a turn that are due, `most` at most; return it as it stands then."""
    taken = 0
    while (step := turns.next_step(turn)) is not None and taken != most:
        others = (await loop.stores.turns.read_all()).values()
        turns.taken(turn, step, {}, others, loop.now())  # refused before anything is done
        if step is not TurnStep.PROMOTED:
            loop.say(f"{turn.name}: to be {step.replace('_', ' ')}")
        outcome = await DOING[step](turn, loop)
        match outcome:
            case Later(why):
                loop.say(f"{turn.name}: in its roll-out, {why}")
                return turn
            case Against(why):
                return await stop(turn, why, loop)
            case Found(evidence):
                turn = await _recorded(turn, step, evidence, loop)
                taken += 1
    return turn


async def _recorded(turn: Turn, step: TurnStep, evidence: Mapping[str, object], loop: Loop) -> Turn:
    """Put a step on record; take it back where the turn was undone while it was done. Raises: InvalidTurn then."""
    try:
        return await loop.stores.turns.change(
            lambda there: turns.taken(there[turn.name], step, evidence, there.values(), loop.now())
        )
    except InvalidTurn:
        there = (await loop.stores.turns.read_all())[turn.name]
        if there.stage in (TurnStage.UNDONE, TurnStage.STOPPED):
            done = DoneStep(step, loop.now(), evidence)
            await _take_back(replace(turn, done=(*turn.done, done)), there.why or str(there.stage), loop)
        raise


async def stop(turn: Turn, why: str, loop: Loop) -> Turn:
    """Stop a turn: its roll-out ends, and its adapter is on trial no more."""
    await _take_back(turn, why, loop)
    loop.say(f"{turn.name}: stopped, {why}")
    return await loop.stores.turns.change(lambda there: turns.stopped(there[turn.name], why, loop.now()))


async def undo(turn: Turn, why: str, loop: Loop) -> Turn:
    """Undo all steps of a turn, the last one first. Raises: InvalidTurn if it was undone before."""
    for step in turns.to_undo(turn):
        loop.say(f"{step.replace('_', ' ')}: {turns.UNDOING[step]}")
    await _take_back(turn, why, loop, UNDONE_ALIASES)
    after = await loop.stores.turns.change(lambda there: turns.undone(there[turn.name], why, loop.now()))
    await _take_back(after, why, loop, UNDONE_ALIASES)  # a run may have done a step meanwhile
    return after


async def _take_back(turn: Turn, why: str, loop: Loop, of: Collection[Alias] = (Alias.CANDIDATE,)) -> None:
    """Let what was there before answer again; what was taken back already stays so. Its version loses the aliases."""
    stores, now = loop.stores, loop.now
    if turn.of(TurnStep.PROMOTED) is not None:
        await _rolled_back(turn, why, loop)
    experiment = (await stores.experiments.read_all()).get(turn.name)
    if experiment is not None and experiment.stage is not Stage.STOPPED and experiment.arm(ARM) is not None:
        await stores.experiments.change(lambda there: checks.stopped(there[turn.name], why, now()))
    if turn.of(TurnStep.REGISTERED) is None:
        return
    name, digest = adapter_of(turn), digest_of(turn)
    if name in await stores.adapters.read_all():
        await stores.adapters.change(lambda there: steps.dismissed(there[name], digest, why, now(), of))


async def _rolled_back(turn: Turn, why: str, loop: Loop) -> None:
    digest, name = digest_of(turn), adapter_of(turn)
    adapter = (await loop.stores.adapters.read_all()).get(name)
    if adapter is not None and adapter.aliases.get(Alias.STABLE) == digest:
        await loop.stores.adapters.change(lambda there: steps.rolled_back(there[name], digest, why, loop.now()))


def as_json(turn: Turn) -> dict[str, object]:
    """Return the turn as JSON takes it, with what is next."""
    step = turns.next_step(turn)
    done = [{"step": each.step, "at": each.at, "evidence": dict(each.evidence)} for each in turn.done]
    return {**asdict(turn), "tenants": sorted(turn.tenants), "done": done, "next": step}
