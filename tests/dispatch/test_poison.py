"""A job that kills every dispatcher that runs it: it ends after a few crashes, and nobody else pays for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

import pytest
from patience import PATIENCE_SECONDS

from fleet.model.attempt import Outcome
from fleet.model.call import Call
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Status
from policies.delivery import MOST_CALLS, SUSPECT_DELIVERIES

TARGET = "llama-8b"
MOST_CRASHES = SUSPECT_DELIVERIES + MOST_CALLS


@dataclass
class Deadly:
    """Kills its dispatcher when it is given poison; a call without poison has to wait for the others' turn."""

    answer: Outcome
    poison: frozenset[str]
    killed: asyncio.Event = field(default_factory=asyncio.Event)
    crashes: int = 0

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        if any(call.id in self.poison for call in calls):
            self.killed.set()
        for _ in range(5):
            await asyncio.sleep(0)
        if self.killed.is_set():
            await asyncio.Event().wait()
        yield [(index, self.answer) for index in range(len(calls))]

    async def stop(self, ids) -> None:
        pass

    async def close(self) -> None:
        pass


async def die(running: asyncio.Task[None], before: set[asyncio.Task]) -> None:
    """End a dispatcher as a crash does: with everything it had begun."""
    for task in asyncio.all_tasks() - before | {running}:
        task.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def all_end(bench, backend: Deadly, ids: Sequence[str]) -> None:
    """Start a dispatcher again and again, as its supervisor does, until every job has its result."""
    ending = asyncio.gather(*(bench.result(each) for each in ids))
    while not ending.done():
        dying, before = asyncio.create_task(backend.killed.wait()), asyncio.all_tasks()
        running = asyncio.create_task(bench.dispatcher().run())
        await asyncio.wait((ending, dying), return_when=asyncio.FIRST_COMPLETED)
        await die(running, before | {dying})
        dying.cancel()
        backend.crashes += backend.killed.is_set()
        backend.killed.clear()
        bench.broker.end_leases()


@pytest.mark.parametrize("poisonous", [1, 3])
@pytest.mark.parametrize("lane", list(Lane))
async def test_a_job_that_crashes_its_dispatchers_ends_soon_and_its_neighbours_succeed(
    bench, sure, with_target, lane, poisonous
):
    with_target(TARGET, max_in_flight=32, batch_size=8)
    bench.rules = replace(bench.rules, delivery=replace(bench.rules.delivery, max_deliveries=3))
    ids = await bench.submit(24, lane, deadline_at=bench.broker.now() + 86_400)
    poison = ids[5 : 5 + poisonous]
    backend = Deadly(sure(None), frozenset(f"acme.{job_id}" for job_id in poison))
    bench.backends[TARGET] = backend
    async with asyncio.timeout(PATIENCE_SECONDS):
        await all_end(bench, backend, ids)
    results = {job_id: await bench.result(job_id) for job_id in ids}
    assert {results[each].reason for each in poison} == {Reason.TOO_MANY_DELIVERIES}
    assert {results[each].status for each in ids if each not in poison} == {Status.SUCCEEDED}
    assert backend.crashes <= MOST_CRASHES + 2 * (poisonous - 1)


async def test_jobs_that_were_in_crashes_by_chance_still_run_together(bench, sure, with_target):
    with_target(TARGET, max_in_flight=8, batch_size=8, batch_wait_seconds=0.05)
    backend = bench.backend(TARGET, sure, open_gate=False)
    ids = await bench.submit(8, Lane.STANDARD, deadline_at=bench.broker.now() + 86_400)
    for _ in range(SUSPECT_DELIVERIES + 1):
        before = asyncio.all_tasks()
        running = asyncio.create_task(bench.dispatcher().run())
        async with asyncio.timeout(PATIENCE_SECONDS):
            await backend.begun.wait()
        await die(running, before)
        bench.broker.end_leases()
        backend.begun.clear()
    backend.gate.set()
    backend.batches.clear()
    async with bench.running():
        assert {(await bench.result(job_id)).status for job_id in ids} == {Status.SUCCEEDED}
    assert max(len(batch) for batch in backend.batches) > 1
