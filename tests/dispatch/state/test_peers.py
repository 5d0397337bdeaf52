"""Dispatchers that serve different targets side by side: what one cannot serve, another may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from fleet.dispatch import decide
from fleet.dispatch.maintenance import orphans
from fleet.dispatch.runner import here
from fleet.dispatch.state import peers
from fleet.model.delivery import WorkOf
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Status, Work
from fleet.model.target import Target
from queues.memory import MemoryQueue

SMALL, LARGE = "llama-8b", "mixtral-8x7b"
REQUEST = {"messages": [{"role": "user", "content": "All is well."}]}
PINNED = {**REQUEST, "model": LARGE}


class CountingQueue(MemoryQueue):
    """Remembers what was asked of it."""

    def __init__(self, broker) -> None:
        super().__init__(broker)
        self.sources = set()
        self.work_published = 0

    def store(self, outbound, traceparent):
        self.work_published += isinstance(outbound, Work)
        return super().store(outbound, traceparent)

    async def take(self, source, limit, wait_seconds):
        self.sources.add(source)
        return await super().take(source, limit, wait_seconds)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(peers, "READ_SECONDS", 0.02)
    monkeypatch.setattr(orphans, "SWEEP_SECONDS", 0.02)


@asynccontextmanager
async def serving(bench, targets: Collection[str], queue=None, **catalogue: Target) -> AsyncIterator[None]:
    """A dispatcher of these targets alone, with what its `catalogue` has beyond, or instead of, the others'."""
    everything, rules = bench.backends, bench.rules
    bench.backends = {name: everything[name] for name in targets}
    changed = {each.name: each for each in catalogue.values()}
    bench.rules = replace(rules, catalogue=replace(rules.catalogue, targets={**rules.catalogue.targets, **changed}))
    dispatcher = bench.dispatcher(queue)
    bench.backends, bench.rules = everything, rules
    task = asyncio.create_task(dispatcher.run())
    try:
        yield
    finally:
        await dispatcher.drain()
        await task


@pytest.mark.parametrize("lane", list(Lane))
async def test_a_job_that_only_another_dispatcher_can_run_is_left_to_it(bench, sure, lane):
    bench.backend(SMALL, sure)
    bench.backend(LARGE, sure)
    async with serving(bench, [SMALL]), serving(bench, [LARGE]):
        ids = [*await bench.submit(8, lane, request=PINNED)]
        results = [await bench.result(job_id) for job_id in ids]
    assert {(each.status, each.target) for each in results} == {(Status.SUCCEEDED, LARGE)}


async def test_a_dispatcher_that_has_only_just_come_is_known_to_the_others_at_once(bench, sure, monkeypatch):
    monkeypatch.setattr(peers, "READ_SECONDS", 3600.0)
    bench.backend(SMALL, sure)
    bench.backend(LARGE, sure, open_gate=True)
    async with serving(bench, [SMALL]), serving(bench, [LARGE]):
        for lane in Lane:
            [job_id] = await bench.submit(1, lane, request=PINNED)
            assert (await bench.result(job_id)).target == LARGE


async def test_an_answer_that_is_not_good_enough_goes_on_at_another_dispatchers_target(bench, sure, unsure):
    bench.backend(SMALL, unsure)
    bench.backend(LARGE, sure)
    async with serving(bench, [SMALL]), serving(bench, [LARGE]):
        [job_id] = await bench.submit(1, Lane.STANDARD)
        result = await bench.result(job_id)
    assert result.status is Status.SUCCEEDED
    assert [attempt.target for attempt in result.attempts] == [SMALL, LARGE]


async def test_a_target_of_another_dispatchers_catalogue_is_served_by_that_one(bench, sure):
    newer = replace(bench.rules.catalogue.targets[LARGE], name="newer")
    bench.backend(SMALL, sure)
    bench.backend("newer", sure)
    async with serving(bench, [SMALL]), serving(bench, ["newer"], newer=newer):
        for lane in Lane:
            [job_id] = await bench.submit(1, lane, request={**REQUEST, "model": "newer"})
            assert (await bench.result(job_id)).target == "newer"


async def test_a_dispatcher_that_says_nothing_is_known_by_what_it_waits_for(bench, sure):
    bench.backend(SMALL, sure)
    waiting = asyncio.create_task(bench.queue.take(WorkOf(LARGE, Lane.STANDARD), 1, 10.0))
    async with serving(bench, [SMALL]):
        await bench.submit(1, Lane.STANDARD, request=PINNED)
        [delivery] = await waiting
    assert isinstance(delivery.body, Work)


@pytest.mark.parametrize("lane", list(Lane))
async def test_what_nobody_serves_is_answered_so(bench, sure, lane):
    bench.backend(SMALL, sure)
    async with serving(bench, [SMALL]):
        [job_id] = await bench.submit(1, lane, request=PINNED)
        result = await bench.result(job_id)
    assert (result.status, result.reason) == (Status.FAILED, Reason.NO_TARGET)


async def test_a_dispatcher_that_has_drained_serves_nothing_any_more(bench, sure, monkeypatch):
    monkeypatch.setattr(peers, "AWAITED_SECONDS", 0.0)
    bench.backend(SMALL, sure)
    bench.backend(LARGE, sure)
    async with serving(bench, [SMALL]):
        async with serving(bench, [LARGE]):
            [job_id] = await bench.submit(1, request=PINNED)
            assert (await bench.result(job_id)).target == LARGE
        [late] = await bench.submit(1, Lane.BULK, request=PINNED)
        assert (await bench.result(late)).reason is Reason.NO_TARGET


async def test_work_that_another_dispatcher_serves_is_not_taken_to_look_at_it(bench, sure, with_target, monkeypatch):
    monkeypatch.setattr(peers, "SERVED_SECONDS", 0.5)
    with_target(LARGE, max_in_flight=1, batch_size=1)
    bench.backend(SMALL, sure)
    slow = bench.backend(LARGE, sure, open_gate=False)
    other = CountingQueue(bench.broker)
    async with serving(bench, [LARGE]):
        ids = await bench.submit(6, Lane.BULK, request=PINNED)
        await slow.begun.wait()
        async with serving(bench, [SMALL], other):
            await bench.result((await bench.submit(1, Lane.STANDARD, request={**REQUEST, "model": SMALL}))[0])
            slow.gate.set()
            results = [await bench.result(job_id) for job_id in ids]
    assert {each.target for each in results} == {LARGE}
    assert not {source for source in other.sources if isinstance(source, WorkOf) and source.target == LARGE}


async def _dead(bench, target: str) -> str:
    """Have the only dispatcher of a target die with a job that may run nowhere else; return the job's id."""
    everything, bench.backends = bench.backends, {target: bench.backends[target]}
    dying = asyncio.create_task(bench.dispatcher().run())
    [job_id] = await bench.submit(1, Lane.STANDARD, request={**REQUEST, "model": target})
    bench.backends = everything
    await everything[target].begun.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    bench.broker.end_leases()
    return job_id


async def test_a_dispatcher_that_died_is_missed_after_a_while(bench, sure, monkeypatch):
    monkeypatch.setattr(peers, "SERVED_SECONDS", 0.2)
    monkeypatch.setattr(peers, "AWAY_SECONDS", 0.4)
    monkeypatch.setattr(decide, "AWAY_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(orphans, "GRACE_SECONDS", 0.0)
    bench.backend(SMALL, sure)
    bench.backend(LARGE, sure, open_gate=False)
    job_id = await _dead(bench, LARGE)
    async with serving(bench, [SMALL]):
        assert (await bench.result(job_id)).reason is Reason.NO_TARGET


@pytest.mark.proves(
    "A job that only dispatchers on a lost head can run waits for them",
    how="stand-in",
    subject="Ray",
)
async def test_a_job_for_a_target_whose_dispatchers_fell_silent_waits_until_one_is_back(bench, sure, monkeypatch):
    monkeypatch.setattr(peers, "SERVED_SECONDS", 0.2)
    monkeypatch.setattr(decide, "AWAY_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(orphans, "GRACE_SECONDS", 0.0)
    bench.backend(SMALL, sure)
    bench.backend(LARGE, sure, open_gate=False)
    job_id = await _dead(bench, LARGE)
    async with serving(bench, [SMALL]):
        deadline_at = bench.broker.now() + 1.0
        [impatient] = await bench.submit(1, Lane.BULK, request=PINNED, deadline_at=deadline_at)
        assert (await bench.result(impatient)).status is Status.EXPIRED
        bench.backends[LARGE].gate.set()
        async with serving(bench, [LARGE]):
            result = await bench.result(job_id)
    assert (result.status, result.target) == (Status.SUCCEEDED, LARGE)


@pytest.mark.proves("A job that may climb does not wait for a lost head", how="stand-in", subject="Ray")
async def test_a_job_that_may_go_elsewhere_does_not_wait_for_a_target_that_fell_silent(bench, sure, monkeypatch):
    monkeypatch.setattr(peers, "SERVED_SECONDS", 0.2)
    monkeypatch.setattr(orphans, "GRACE_SECONDS", 0.0)
    bench.backend(SMALL, sure, open_gate=False)
    bench.backend(LARGE, sure)
    await _dead(bench, SMALL)
    async with serving(bench, [LARGE]):
        [job_id] = await bench.submit(1, Lane.BULK)
        assert (await bench.result(job_id)).target == LARGE


async def test_two_dispatchers_that_each_leave_a_job_to_the_other_do_not_pass_it_to_and_fro_for_ever(bench, sure):
    small, large = (replace(bench.rules.catalogue.targets[name], context_tokens=1) for name in (SMALL, LARGE))
    bench.backend(SMALL, sure)
    bench.backend(LARGE, sure)
    queue = CountingQueue(bench.broker)
    async with serving(bench, [SMALL], queue, small=small), serving(bench, [LARGE], queue, large=large):
        [job_id] = await bench.submit(1, Lane.STANDARD, deadline_at=bench.broker.now() + 1.0)
        assert (await bench.result(job_id)).status is Status.EXPIRED
    assert queue.work_published <= here.MOST_HOPS + 2
