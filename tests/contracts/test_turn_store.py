"""What every store of turns does."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from queue_rigs import Rig

from fleet.model.errors import InvalidTurn
from fleet.model.turn import DoneStep, Turn, TurnStage, TurnStep
from policies.learning.turns import begun, taken

NOW = 1_800_000_000.0
TURN = Turn("schedule-1", "llama-8b", "plan.schedule", frozenset({"acme", "globex"}))
STOPPED = replace(
    TURN,
    done=(DoneStep(TurnStep.COLLECTED, NOW, {"pairs": 1_200, "usd": 0.25, "of": {"llama-70b": 3}}),),
    stage=TurnStage.STOPPED,
    why="no improvement is shown",
    changed_at=NOW,
)


async def test_a_turn_is_read_as_it_was_stored(rig: Rig) -> None:
    assert await rig.turns().change(lambda _: STOPPED) == STOPPED
    assert await rig.turns().read_all() == {"schedule-1": STOPPED}


async def test_of_runners_who_begin_with_one_task_at_once_one_is_first(rig: Rig) -> None:
    turns = [replace(TURN, name=f"schedule-{number}") for number in range(4)]
    outcomes = await asyncio.gather(
        *(rig.turns().change(lambda there, each=each: begun(each, there.values(), (), NOW)) for each in turns),  # type: ignore[misc]
        return_exceptions=True,
    )
    assert sum(isinstance(each, InvalidTurn) for each in outcomes) == 3
    assert len(await rig.turns().read_all()) == 1


async def test_of_runners_who_do_one_step_at_once_the_first_is_on_record(rig: Rig) -> None:
    await rig.turns().change(lambda _: replace(TURN, changed_at=NOW))

    async def step(number: int) -> Turn:
        evidence = {"by": number}
        return await rig.turns().change(
            lambda there: taken(there["schedule-1"], TurnStep.COLLECTED, evidence, there.values(), NOW + number)
        )

    found = await asyncio.gather(*map(step, range(3)))
    assert found[1].done == found[2].done == found[0].done
    [turn] = (await rig.turns().read_all()).values()
    assert turn.done == found[0].done


async def test_a_change_that_is_refused_stores_nothing(rig: Rig) -> None:
    await rig.turns().change(lambda _: STOPPED)
    with pytest.raises(InvalidTurn, match="must be running"):
        await rig.turns().change(lambda there: taken(there["schedule-1"], TurnStep.EXPORTED, {}, (), NOW))
    assert await rig.turns().read_all() == {"schedule-1": STOPPED}
