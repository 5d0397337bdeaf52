"""A job that kills every dispatcher that runs it: it ends after a few crashes, and nobody else pays for them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from patience import PATIENCE_SECONDS

from fleet.model.attempt import Answer, FailureKind, Outcome, Usage
from fleet.model.call import Call
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Result, Status
from fleet.model.submission import Submission
from policies.resilience.delivery import MOST_CALLS, SUSPECT_DELIVERIES
from queues.memory import MemoryDesk

TARGET, PAID = "llama-8b", "gpt-4o"
MOST_CRASHES = 1 + SUSPECT_DELIVERIES + MOST_CALLS
"""The first as a direct job."""
MOST_PAID_CALLS = 2
PINNED = {"model": PAID, "messages": [{"role": "user", "content": "All is well."}]}
PAID_ANSWER = Answer({"role": "assistant", "content": "positive"}, "stop", Usage(10, 2), "scripted")


@dataclass
class Deadly:
    """Kills its dispatcher when it is given poison; a call without poison has to wait for the others' turn.

    With `first` its first dispatcher gets no answer: it dies as soon as it has begun so many calls, all poison of them.
    """

    answer: Outcome
    poison: frozenset[str]
    killed: asyncio.Event = field(default_factory=asyncio.Event)
    crashes: int = 0
    first: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        self.calls.update(call.id for call in calls)
        if self.first:
            if len(self.calls) >= self.first and self.poison <= self.calls.keys():
                self.killed.set()
            await self.killed.wait()
            self.first = 0
        elif any(call.id in self.poison for call in calls):
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


async def all_end(bench, backend: Deadly, results: Sequence[Awaitable[Result]]) -> None:
    """Start a dispatcher again and again, as its supervisor does, until every job has its result."""
    ending = asyncio.gather(*results)
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
        await all_end(bench, backend, [bench.result(each) for each in ids])
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


async def submit_paid(bench, count: int, lane: Lane, tenant: str) -> list[tuple[str, str]]:
    """Submit jobs of a tenant that only the paid target may answer; tenant and id of each."""
    ids = [f"{tenant}-{lane}-{number:012d}" for number in range(count)]
    until = bench.broker.now() + 86_400
    jobs = [Submission(each, "classify.sentiment", PINNED, lane=lane, deadline_at=until) for each in ids]
    await MemoryDesk(bench.broker, tenant).submit(jobs)
    return [(tenant, each) for each in ids]


async def result(bench, tenant: str, job_id: str) -> Result:
    desk = MemoryDesk(bench.broker, tenant)
    while (found := await desk.result(job_id)) is None:
        await bench.broker.changed_once()
    return found


def called(jobs: Sequence[tuple[str, str]]) -> frozenset[str]:
    """The names of their calls."""
    return frozenset(f"{tenant}.{job_id}" for tenant, job_id in jobs)


@pytest.fixture
def room_for_all(bench, with_target) -> None:
    """Let all jobs of a test be called before the paid target has answered one."""
    with_target(PAID, max_in_flight=64)
    bench.rules = replace(bench.rules, breaker=replace(bench.rules.breaker, failures=64))


@pytest.mark.usefixtures("room_for_all")
@pytest.mark.parametrize("poisonous", [1, 3])
@pytest.mark.parametrize("lane", list(Lane))
async def test_paid_neighbours_of_a_job_that_crashes_its_dispatchers_are_answered_and_nothing_is_called_thrice(
    bench, lane, poisonous
):
    poison = await submit_paid(bench, poisonous, lane, "poison")
    good = await submit_paid(bench, 24, lane, "good")
    backend = Deadly(PAID_ANSWER, called(poison), first=24 + poisonous)
    bench.backends[PAID] = backend
    async with asyncio.timeout(PATIENCE_SECONDS):
        await all_end(bench, backend, [result(bench, *job) for job in (*poison, *good)])
    ends = [await result(bench, *job) for job in good]
    assert {end.status for end in ends} == {Status.SUCCEEDED}
    ends = [await result(bench, *job) for job in poison]
    assert {(end.status, end.attempts[-1].outcome.kind) for end in ends} == {(Status.FAILED, FailureKind.INTERRUPTED)}
    assert max(backend.calls.values()) == MOST_PAID_CALLS
    assert backend.crashes <= 1 + poisonous


@pytest.mark.usefixtures("room_for_all")
@pytest.mark.parametrize("lane", list(Lane))
async def test_a_job_that_crashes_dispatchers_at_another_target_costs_no_paid_job_its_answer(bench, sure, lane):
    [poison] = await bench.submit(1, lane, deadline_at=bench.broker.now() + 86_400)
    good = await submit_paid(bench, 24, lane, "good")
    backend = Deadly(sure(None), frozenset({f"acme.{poison}"}), first=24 + 1)
    paid = Deadly(PAID_ANSWER, backend.poison, backend.killed, first=24 + 1, calls=backend.calls)
    bench.backends |= {TARGET: backend, PAID: paid}
    async with asyncio.timeout(PATIENCE_SECONDS):
        await all_end(bench, backend, [bench.result(poison), *(result(bench, *job) for job in good)])
    ends = [await result(bench, *job) for job in good]
    assert {end.status for end in ends} == {Status.SUCCEEDED}
    assert max(paid.calls[each] for each in called(good)) == MOST_PAID_CALLS
    assert (await bench.result(poison)).reason is Reason.TOO_MANY_DELIVERIES
    assert backend.crashes <= MOST_CRASHES
