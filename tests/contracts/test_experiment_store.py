"""What every store of experiments does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest
from patience import PATIENCE_SECONDS
from queue_rigs import Rig
from watched_stores import watching

from fleet.model.errors import InvalidExperiment
from fleet.model.experiment import Arm, Assignment, Experiment, Guardrail, Stage, Unit
from fleet.model.feedback import Feedback, Verdict
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Status
from policies.experiments.checks import ramped, started, stopped

Told = Mapping[str, Experiment] | None

TRIAL = Experiment(
    "smaller-first",
    Unit.CONVERSATION,
    (
        Arm("candidate", 0.1, rules={"phase": "phase3", "tasks": {"chat": {"tier": "simple"}}}, cache="off"),
        Arm("second", 0.2, target="llama-8b", prompt="Be brief: jusqu'à 20 mots."),
    ),
    salt="pepper",
    unit_field="thread",
    tenants=frozenset({"acme", "globex"}),
    tasks=frozenset({"chat"}),
    tolerances={Guardrail.LATE: 0.1, Guardrail.PRICE: None},
    started_at=5.0,
    changed_at=6.0,
)
LINE = LedgerEntry("job-0123456789abcdef", "acme", Lane.BULK, 1.0, Reason.CONFIDENT, "chat", "paid", Status.SUCCEEDED)

IN_ARM = Assignment("smaller-first", "candidate", 0.1)


async def test_an_experiment_is_read_as_it_was_stored(rig: Rig) -> None:
    assert await rig.experiments().change(lambda _: TRIAL) == TRIAL
    assert await rig.experiments().read_all() == {"smaller-first": TRIAL}


async def test_a_change_sees_what_is_there_and_takes_its_place(rig: Rig) -> None:
    store = rig.experiments()
    await store.change(lambda there: started(TRIAL, there.values(), 7.0))
    await store.change(lambda there: ramped(there["smaller-first"], "candidate", 0.5, 8.0))
    [found] = (await store.read_all()).values()
    assert (found.arms[0].share, found.started_at, found.changed_at) == (0.5, 7.0, 8.0)


async def test_a_change_that_is_refused_stores_nothing(rig: Rig) -> None:
    store = rig.experiments()
    await store.change(lambda _: TRIAL)
    with pytest.raises(InvalidExperiment, match="name"):
        await store.change(lambda there: started(TRIAL, there.values(), 7.0))
    assert await store.read_all() == {"smaller-first": TRIAL}


async def test_changes_made_at_once_lose_nothing(rig: Rig) -> None:
    named = [replace(TRIAL, name=f"trial-{n}", tasks=frozenset({f"task-{n}"})) for n in range(4)]
    await asyncio.gather(*(rig.experiments().change(lambda _, each=each: each) for each in named))
    assert await rig.experiments().read_all() == {each.name: each for each in named}


async def test_of_experiments_on_the_same_jobs_that_are_started_at_once_one_starts(rig: Rig) -> None:
    named = [replace(TRIAL, name=f"trial-{n}") for n in range(4)]
    outcomes = await asyncio.gather(
        *(rig.experiments().change(lambda there, each=each: started(each, there.values(), 7.0)) for each in named),
        return_exceptions=True,
    )
    assert sum(isinstance(each, InvalidExperiment) for each in outcomes) == 3
    assert len(await rig.experiments().read_all()) == 1


async def test_a_watcher_is_told_what_there_is_and_then_of_every_change(rig: Rig) -> None:
    async with watching(rig.experiments()) as seen:
        assert await seen.get() == {}
        await rig.experiments().change(lambda _: TRIAL)
        assert await seen.get() == {"smaller-first": TRIAL}
        ended = await rig.experiments().change(lambda there: stopped(there["smaller-first"], "too slow", 9.0))
        assert await seen.get() == {"smaller-first": ended}
        assert ended.stage is Stage.STOPPED
    async with watching(rig.experiments()) as seen:
        assert await seen.get() == {"smaller-first": ended}


def line(number: int, assigned: Assignment | None = IN_ARM) -> LedgerEntry:
    return replace(LINE, job_id=f"job-{number:016}", assigned=assigned)


async def test_lines_of_jobs_in_experiments_are_told_and_then_what_comes(rig: Rig) -> None:
    await rig.queue.publish([line(1, None), line(2)])
    seen: list[LedgerEntry] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for lines, _ in rig.experiments().lines(0.0):
            if lines and not seen:
                await rig.queue.publish([line(3, None), line(4)])
            seen += lines
            if len(seen) == 2:
                break
    assert seen == [line(2), line(4)]


async def test_what_is_said_of_answers_is_told(rig: Rig) -> None:
    await rig.desk("acme").give_feedback(Feedback(LINE.job_id, "acme", Verdict.BAD, 0.0, id="feedback-00000001"))
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for told, _ in rig.experiments().verdicts(0.0):
            if told:
                assert [(each.job_id, each.verdict) for each in told] == [(LINE.job_id, Verdict.BAD)]
                break
