"""The stage that makes the calls, alone: when each job leaves it, and with which outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from jobs_in_flight import in_flight

from fleet.dispatch.in_flight import InFlightJob, MicroBatch
from fleet.dispatch.runner.stages.diet import Diets
from fleet.dispatch.runner.stages.execute import CALLED_OFF, NO_ANSWER, Execute
from fleet.model.attempt import Answer, Failure, FailureKind, Outcome, Usage
from fleet.model.call import Call
from fleet.settings.documents import load_rules

RULES = load_rules(None, None, "local")
TARGET = RULES.catalogue.targets["llama-8b"]
ANSWER = Answer({"role": "assistant", "content": "yes"}, "stop", Usage(3, 1), "llama")
BUSY = Failure(FailureKind.OVERLOADED, "busy")

A, B = jobs = [in_flight(name, TARGET.name) for name in "ab"]


class Stage:
    """An `Execute` whose backend says what a test puts into `said`: groups of outcomes, then an error or the end."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[list[tuple[int, Outcome]] | BaseException | None] = asyncio.Queue()
        self.assessed: asyncio.Queue[list[tuple[InFlightJob, Outcome]]] = asyncio.Queue()
        self.calls: list[str | None] = []
        self.dropped: list[InFlightJob] = []
        self.stopped: list[str] = []
        self.unwanted: list[InFlightJob] = []
        clock, spans = SimpleNamespace(now=lambda: 2.0), SimpleNamespace(ran=lambda *_: None)
        self.run = Execute(
            TARGET, self._Backend(self), RULES, clock, self, spans, self, self, self.assess, Diets(lambda _: RULES)
        )

    class _Backend:
        def __init__(self, stage: Stage) -> None:
            self._stage = stage

        async def run(self, calls: Sequence[Call]) -> AsyncIterator[list[tuple[int, Outcome]]]:
            self._stage.calls += [call.id for call in calls]
            while (said := await self._stage.said.get()) is not None:
                if isinstance(said, BaseException):
                    raise said
                yield said

        async def stop(self, call_ids: Sequence[str]) -> None:
            self._stage.stopped += call_ids

    async def assess(self, done: Sequence[tuple[InFlightJob, Outcome]], batch: MicroBatch) -> None:
        self.assessed.put_nowait(list(done))

    def sorted_by_want(self, given: list[InFlightJob], now: float) -> tuple[list[InFlightJob], list[InFlightJob]]:
        return [each for each in given if each not in self.unwanted], self.unwanted

    async def drop(self, given: Sequence[InFlightJob], now: float) -> None:
        self.dropped += given

    @contextmanager
    def watching(self, open_jobs, call_off):
        self.call_off = call_off
        yield


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_a_job_leaves_as_soon_as_its_outcome_is_there(stage: Stage) -> None:
    running = asyncio.create_task(stage.run(jobs))
    stage.said.put_nowait([(1, ANSWER)])
    assert await stage.assessed.get() == [(B, ANSWER)]
    stage.said.put_nowait([(0, BUSY)])
    assert await stage.assessed.get() == [(A, BUSY)]
    stage.said.put_nowait(None)
    await running
    assert stage.calls == [A.call_id, B.call_id]
    assert stage.assessed.empty()


async def test_a_job_that_is_called_off_leaves_at_once_and_its_answer_counts_no_more(stage: Stage) -> None:
    running = asyncio.create_task(stage.run(jobs))
    stage.said.put_nowait([(1, ANSWER)])
    await stage.assessed.get()
    stage.call_off(0)
    assert await stage.assessed.get() == [(A, CALLED_OFF)]
    stage.said.put_nowait([(0, ANSWER)])
    stage.said.put_nowait(None)
    await running
    assert stage.assessed.empty()
    assert stage.stopped == [A.call_id]


async def test_a_call_that_is_of_no_use_any_more_is_not_made(stage: Stage) -> None:
    stage.unwanted = [A]
    for each in ([(0, ANSWER)], None):
        stage.said.put_nowait(each)
    await stage.run(jobs)
    assert (stage.dropped, stage.calls) == ([A], [B.call_id])
    assert stage.assessed.get_nowait() == [(B, ANSWER)]


@pytest.mark.parametrize("end", [None, RuntimeError("a bug"), asyncio.CancelledError()])
async def test_a_backend_that_stops_short_leaves_no_job_without_an_outcome(stage: Stage, end) -> None:
    for each in ([(1, ANSWER)], end):
        stage.said.put_nowait(each)
    await stage.run(jobs)
    outcomes = [stage.assessed.get_nowait() for _ in range(stage.assessed.qsize())]
    assert sorted(outcomes, key=lambda done: done[0][0].job.id) == [[(A, NO_ANSWER)], [(B, ANSWER)]]


async def test_our_own_cancellation_ends_the_stage(stage: Stage) -> None:
    running = asyncio.create_task(stage.run(jobs))
    stage.said.put_nowait([(1, ANSWER)])
    await stage.assessed.get()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert stage.assessed.empty()
