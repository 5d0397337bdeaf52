"""A stream of jobs that fills up: the tenant that fills it makes room, however its jobs are spread."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.dispatch.state import peers, state
from fleet.dispatch.state.state import FleetState
from fleet.model.delivery import Depths, Fill, JobsOf
from fleet.model.job import Lane
from fleet.model.reason import Reason
from queues.memory import MemoryDesk, MemoryQueue

SMALL, LARGE = "llama-8b", "mixtral-8x7b"
PINNED = {"messages": [{"role": "user", "content": "All is well."}], "model": SMALL}


class BoundedQueue(MemoryQueue):
    """Says that JOBS has room for `most` jobs; None: for any number."""

    most: int | None = None

    async def depths(self) -> Depths:
        depths = await super().depths()
        fill = Fill(100 * sum(depths.jobs.values()), 100 * (self.most or 0))
        return replace(depths, jobs_fill=fill)


async def test_jobs_that_are_held_for_a_full_target_make_room_as_well(bench, sure, with_target):
    with_target(SMALL, max_in_flight=1, batch_size=1)
    backend = bench.backend(SMALL, sure, open_gate=False)
    bench.backend(LARGE, sure)  # has room, so that jobs are taken and held
    queue, waiting = BoundedQueue(bench.broker), JobsOf(Lane.BULK, "acme")
    ids = await bench.submit(20, Lane.BULK, request=PINNED)
    async with bench.running(queue) as dispatcher:
        while len(dispatcher._office.leases) < 20 - 1:
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
    await FleetState([], bench.rules).watch(dispatcher._office.queue, dispatcher._time, dispatcher._stop)
    assert pauses == [seconds]


async def test_dispatchers_know_how_many_of_them_there_are(bench, sure, monkeypatch):
    monkeypatch.setattr(peers, "READ_SECONDS", 0.02)
    bench.backend(SMALL, sure)
    async with bench.running() as one:
        async with bench.running() as two:
            while (one._office.peers.others, two._office.peers.others) != (1, 1):
                await bench.broker.changed_once()
        while one._office.peers.others:
            await bench.broker.changed_once()
