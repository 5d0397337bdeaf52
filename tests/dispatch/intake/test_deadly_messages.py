"""A message that kills whoever reads it or decides on it: it ends after a few crashes, and nobody else pays."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from patience import PATIENCE_SECONDS

from fleet.dispatch import decide
from fleet.model.delivery import SEALED_BEYOND
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.submission import Submission
from policies.resilience.delivery import MOST_READINGS
from queues.memory import MemoryQueue
from queues.memory import queue as memory

TARGET = "llama-8b"
CRASHES = SEALED_BEYOND + MOST_READINGS
MARK = "the deadly one"


@dataclass
class Killer:
    """In place of a function: what it is given with the mark in it ends the dispatcher, as a crash does."""

    function: object
    killed: asyncio.Event = field(default_factory=asyncio.Event)
    spared: set[asyncio.Task] = field(default_factory=set)
    crashes: int = 0

    def __call__(self, *args):
        if MARK in repr(args) and not self.killed.is_set():
            self.crashes += 1
            self.killed.set()
            for task in asyncio.all_tasks() - self.spared:
                task.cancel()
            raise asyncio.CancelledError
        return self.function(*args)


async def all_end(bench, killer: Killer, ids: Sequence[str]) -> None:
    """Start a dispatcher again and again, as its supervisor does, until every job has its result."""
    ending = asyncio.gather(*(bench.result(each) for each in ids))
    while not ending.done():
        dying = asyncio.create_task(killer.killed.wait())
        killer.spared = asyncio.all_tasks()
        running = asyncio.create_task(bench.dispatcher(MemoryQueue(bench.broker)).run())
        await asyncio.wait((ending, dying, running), return_when=asyncio.FIRST_COMPLETED)
        for task in asyncio.all_tasks() - killer.spared:
            task.cancel()
        await asyncio.gather(running, return_exceptions=True)
        dying.cancel()
        killer.killed.clear()
        bench.broker.end_leases()


PLACES = {"read": (memory, "decode"), "decided on": (decide, "next_action")}


@pytest.mark.parametrize("poisonous", [1, 3])
@pytest.mark.parametrize("lane", list(Lane))
@pytest.mark.parametrize("place", PLACES)
async def test_a_message_that_kills_its_dispatchers_ends_soon_and_its_neighbours_succeed(
    bench, sure, monkeypatch, lane, poisonous, place
):
    bench.backend(TARGET, sure)
    ids = await bench.submit(24, lane, deadline_at=bench.broker.now() + 86_400)
    request = {"messages": [{"role": "user", "content": MARK}]}
    poison = [f"deadly-{lane}-{number:012d}" for number in range(poisonous)]
    await bench.desk.submit([Submission(each, "classify.sentiment", request, lane=lane) for each in poison])
    killer = Killer(getattr(*PLACES[place]))
    monkeypatch.setattr(*PLACES[place], killer)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await all_end(bench, killer, [*ids, *poison])
    ends = {each: await bench.result(each) for each in [*ids, *poison]}
    assert {(ends[each].status, ends[each].reason) for each in poison} == {(Status.FAILED, Reason.TOO_MANY_DELIVERIES)}
    assert {ends[each].status for each in ids} == {Status.SUCCEEDED}
    assert len(bench.broker.stored("dead")) == poisonous
    assert CRASHES <= killer.crashes <= CRASHES + 2 * (poisonous - 1)
