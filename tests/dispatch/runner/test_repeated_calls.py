"""Paid calls that are made again are made one at a time, and nothing new waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field

import pytest
from patience import PATIENCE_SECONDS

from fleet.model.attempt import Answer, Outcome, Usage
from fleet.model.call import Call
from fleet.model.job import Lane
from fleet.model.result import Status
from fleet.model.submission import Submission

TARGET = "gpt-4o"
SLOTS = 4
PINNED = {"request": {"model": TARGET, "messages": [{"role": "user", "content": "All is well."}]}}
ANSWER = Answer({"role": "assistant", "content": "positive"}, "stop", Usage(10, 2), "scripted")


@dataclass
class Holding:
    """Keeps the calls of some jobs until its gate is open, and answers all others at once."""

    held: Collection[str]
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    all_begun: asyncio.Event = field(default_factory=asyncio.Event)
    some_begun: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[str] = field(default_factory=list)
    running: int = 0
    most_running: int = 0

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        held = [call.id for call in calls if call.id in self.held]
        self.calls += held
        self.running += len(held)
        self.most_running = max(self.most_running, self.running)
        if held:
            self.some_begun.set()
            await (self.gate.wait() if self.running < len(self.held) else self._tell_and_wait())
        self.running -= len(held)
        yield [(index, ANSWER) for index in range(len(calls))]

    async def _tell_and_wait(self) -> None:
        self.all_begun.set()
        await self.gate.wait()

    async def stop(self, ids: Collection[str]) -> None:
        pass

    async def close(self) -> None:
        pass


@pytest.fixture
async def interrupted(bench, with_target) -> list[str]:
    """Jobs whose first calls were all under way when their dispatcher died."""
    with_target(TARGET, max_in_flight=SLOTS)
    ids = await bench.submit(SLOTS, Lane.INTERACTIVE, deadline_at=bench.broker.now() + 86_400, **PINNED)
    backend = bench.backends[TARGET] = Holding([f"acme.{job_id}" for job_id in ids])
    before = asyncio.all_tasks()
    dispatcher = asyncio.create_task(bench.dispatcher().run())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await backend.all_begun.wait()
    for task in asyncio.all_tasks() - before:
        task.cancel()
    await asyncio.gather(dispatcher, return_exceptions=True)
    bench.broker.end_leases()
    bench.backends[TARGET] = Holding(backend.held)
    return ids


async def results(bench, ids):
    """Let the waits pass at once that a job may be put off for."""
    bench.broker.ahead_seconds += 10.0
    bench.broker.wake()
    return [await bench.result(job_id) for job_id in ids]


async def test_they_run_one_at_a_time_and_new_jobs_run_beside_them(bench, interrupted):
    backend, request = bench.backends[TARGET], PINNED["request"]
    async with asyncio.timeout(PATIENCE_SECONDS), bench.running():
        await backend.some_begun.wait()
        for number in range(SLOTS):
            await bench.desk.submit([Submission(f"new-{number:012d}", "classify.sentiment", request)])
            assert (await bench.result(f"new-{number:012d}")).attempts[0].repeated is False
        assert (backend.running, len(backend.calls)) == (1, 1)
        backend.gate.set()
        ends = await results(bench, interrupted)
    assert [(end.status, end.attempts[0].repeated) for end in ends] == [(Status.SUCCEEDED, True)] * SLOTS
    assert (backend.most_running, sorted(backend.calls)) == (1, sorted(backend.held))


async def test_a_dispatcher_that_drains_leaves_those_that_wait_for_their_turn_to_others(bench, interrupted):
    backend = bench.backends[TARGET]
    async with asyncio.timeout(PATIENCE_SECONDS):
        async with bench.running():
            await backend.some_begun.wait()
        assert len(backend.calls) == 1
        async with bench.running():
            ends = await results(bench, interrupted)
    assert {end.status for end in ends} == {Status.SUCCEEDED}
    assert sorted(backend.calls) == sorted(backend.held)


async def test_what_is_called_off_while_it_waits_for_its_turn_is_not_called(bench, interrupted):
    backend = bench.backends[TARGET]
    async with asyncio.timeout(PATIENCE_SECONDS), bench.running():
        await backend.some_begun.wait()
        for job_id in interrupted:
            await bench.desk.cancel(job_id)
        ends = await results(bench, interrupted)
    assert {end.status for end in ends} == {Status.CANCELLED}
    assert len(backend.calls) == 1
