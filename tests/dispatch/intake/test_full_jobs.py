"""A stream of jobs that fills up: the tenant that fills it makes room, however its jobs are spread."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from fleet.dispatch.intake.lines import WINDOW
from fleet.dispatch.receiving import opening
from fleet.dispatch.state import peers, state
from fleet.dispatch.state.state import FleetState
from fleet.model.delivery import Depths, Fill, JobsOf, Retry
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.submission import Submission
from policies.resilience.delivery import SUSPECT_DELIVERIES
from queues.memory import MemoryDesk, MemoryQueue

SMALL, LARGE = "llama-8b", "mixtral-8x7b"
SIZE = 1000
"""Bytes that the stream counts for a job."""

PINNED = {"messages": [{"role": "user", "content": "All is well."}], "model": SMALL}


class BoundedQueue(MemoryQueue):
    """Says that JOBS has room for `most` jobs; None: for any number. What it says arrives once `answers` is set."""

    most: int | None = None

    def __init__(self, broker):
        super().__init__(broker)
        self.asked, self.answers = asyncio.Event(), asyncio.Event()
        self.answers.set()

    async def depths(self) -> Depths:
        depths = await super().depths()
        self.asked.set()
        await self.answers.wait()
        fill = Fill(SIZE * sum(depths.jobs.values()), SIZE * (self.most or 0))
        return replace(depths, jobs_fill=fill)


class OneLane:
    """The bulk lane of a dispatcher, of which every round and every reading is made by hand."""

    def __init__(self, bench):
        self.queue = BoundedQueue(bench.broker)
        self._dispatcher = bench.dispatcher(self.queue)
        self._lane = self._dispatcher._parts.fair_lane(Lane.BULK)
        self._bench = bench

    @property
    def isolation(self):
        return self._dispatcher._parts.isolation

    @property
    def in_hand(self):
        parts = self._dispatcher._parts
        return len(parts.leases) - sum(parts.state.traffic.direct.by_work().values())

    async def read(self):
        await self._dispatcher._parts.state.read(self.queue, self._dispatcher._time)

    async def ask(self):
        """A reading that is made now and arrives with `answers`."""
        self.queue.asked.clear()
        self.queue.answers.clear()
        reading = asyncio.create_task(self.read())
        await self.queue.asked.wait()
        return reading

    async def a_round(self):
        await self._lane.serve_once()

    async def refused(self, tenant="acme"):
        """How many of the tenant's jobs the lane has refused."""
        results = [message for message in self._bench.broker.stored("results") if f".{tenant}." in message.subject]
        assert all(json.loads(message.data)["reason"] == Reason.OVER_QUOTA.value for message in results)
        return len(results)


async def _lane_that_knows(bench, **tenants):
    """A lane that has seen a job of each tenant, of so many that they have waiting and can go nowhere."""
    for target in (SMALL, LARGE):
        bench.backend(target, lambda call: None, open_gate=False)
    for tenant, jobs in tenants.items():
        plain = Submission("", "chat", PINNED, Lane.BULK)
        await MemoryDesk(bench.broker, tenant).submit([replace(plain, id=f"job-{n:012d}") for n in range(jobs)])
    lane = OneLane(bench)
    await lane.read()
    await lane.a_round()
    return lane


async def test_jobs_that_are_held_for_a_full_target_make_room_as_well(bench, sure, with_target):
    with_target(SMALL, max_in_flight=1, batch_size=1)
    backend = bench.backend(SMALL, sure, open_gate=False)
    bench.backend(LARGE, sure)  # has room, so that jobs are taken and held
    queue, waiting = BoundedQueue(bench.broker), JobsOf(Lane.BULK, "acme")
    ids = await bench.submit(20, Lane.BULK, request=PINNED)
    async with bench.running(queue) as dispatcher:
        while len(dispatcher._parts.leases) < 20 - 1:
            await bench.broker.changed_once()
        assert bench.broker.depths().jobs[waiting] > 12
        queue.most = 16
        while bench.broker.depths().jobs[waiting] > 12:
            await bench.broker.changed_once()
        refused = [result for job_id in ids if (result := await MemoryDesk(bench.broker, "acme").result(job_id))]
        backend.gate.set()
        results = [await bench.result(job_id) for job_id in ids]
    assert {each.reason for each in refused} == {Reason.OVER_QUOTA}
    assert sum(each.reason is Reason.OVER_QUOTA for each in results) == len(refused)


async def test_a_reading_made_while_jobs_are_refused_refuses_none_of_them_again(bench, with_target):
    with_target(SMALL, max_in_flight=1, batch_size=1)
    lane = await _lane_that_knows(bench, acme=130)
    before = sum(bench.broker.depths().jobs.values())
    lane.queue.most = before - before % 4
    await lane.read()
    late = await lane.ask()
    await lane.a_round()
    refused = await lane.refused()
    lane.queue.answers.set()
    await late
    await lane.a_round()
    assert 0 < refused == await lane.refused()
    await lane.read()
    await lane.a_round()
    assert 0.75 * lane.queue.most - 1 <= sum(bench.broker.depths().jobs.values()) <= 0.75 * lane.queue.most


async def test_what_is_being_refused_of_one_tenant_counts_for_another_that_takes_as_much(bench, with_target):
    with_target(SMALL, max_in_flight=1, batch_size=1)
    lane = await _lane_that_knows(bench, acme=90, globex=40)
    lane.queue.most = 120
    await lane.read()
    late = await lane.ask()
    await lane.a_round()
    assert await lane.refused("acme") > 0 == await lane.refused("globex")
    lane.queue.answers.set()
    await late
    await lane.a_round()
    assert await lane.refused("globex") > 0
    assert sum(bench.broker.depths().jobs.values()) >= 0.75 * lane.queue.most - 1


async def test_no_more_is_refused_once_a_reading_says_that_there_is_room(bench, with_target):
    with_target(SMALL, max_in_flight=1, batch_size=1)
    lane = await _lane_that_knows(bench, acme=1000)
    lane.queue.most = 800  # more is too much than one round refuses
    await lane.read()
    await lane.a_round()
    refused = await lane.refused()
    lane.queue.most = 10_000
    await lane.read()
    await lane.a_round()
    assert 0 < refused == await lane.refused()


@pytest.fixture
async def lane_of_sealed(bench, with_target, monkeypatch):
    """A lane with 200 jobs that came back too often, while a call runs alone."""
    monkeypatch.setattr(opening, "POLL_SECONDS", 0.0)
    with_target(SMALL, max_in_flight=1, batch_size=1)
    lane, queue = await _lane_that_knows(bench, acme=200), MemoryQueue(bench.broker)
    for _ in range(SUSPECT_DELIVERIES):
        held = await queue.take(JobsOf(Lane.BULK, "acme"), 200, 0.0)
        await queue.settle([Retry(each) for each in held])
    async with lane.isolation.alone():
        yield lane


async def test_no_more_jobs_wait_to_be_opened_than_may_be_held_of_a_tenant(lane_of_sealed):
    for _ in range(8):
        await lane_of_sealed.read()
        await lane_of_sealed.a_round()
    assert 0 < lane_of_sealed.in_hand <= WINDOW


async def test_jobs_that_wait_to_be_opened_before_they_are_refused_are_not_too_many_once_more(bench, lane_of_sealed):
    waiting = sum(bench.broker.depths().jobs.values())
    lane_of_sealed.queue.most = waiting
    for _ in range(8):
        await lane_of_sealed.read()
        await lane_of_sealed.a_round()
    assert 0 < lane_of_sealed.in_hand <= WINDOW + waiting // 4 + 1


@pytest.mark.parametrize(("size", "seconds"), [(50, state.READ_SECONDS), (51, state.PRESSED_READ_SECONDS)])
async def test_the_depths_are_read_more_often_while_jobs_fill_up(bench, monkeypatch, size, seconds):
    class Full(MemoryQueue):
        async def depths(self) -> Depths:
            return Depths(jobs_fill=Fill(size, 100))

    pauses: list[float] = []

    async def pause(stop, seconds):
        pauses.append(seconds)
        stop.set()

    monkeypatch.setattr(state, "pause", pause)
    dispatcher = bench.dispatcher(Full(bench.broker))
    await FleetState([], bench.rules).watch(dispatcher._parts.queue, dispatcher._time, dispatcher._stop)
    assert pauses == [seconds]


async def test_dispatchers_know_how_many_of_them_there_are(bench, sure, monkeypatch):
    monkeypatch.setattr(peers, "READ_SECONDS", 0.02)
    bench.backend(SMALL, sure)
    async with bench.running() as one:
        async with bench.running() as two:
            while (one._parts.peers.others, two._parts.peers.others) != (1, 1):
                await bench.broker.changed_once()
        while one._parts.peers.others:
            await bench.broker.changed_once()
