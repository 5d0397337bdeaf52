"""What every job queue hands out, to whom, and when."""

from __future__ import annotations

import asyncio

from patience import PATIENCE_SECONDS
from queue_rigs import Rig
from queue_samples import BULK, SMALL, number_of, submission, work

from fleet.model.delivery import JobsOf, WorkOf
from fleet.model.job import Lane


async def test_a_take_returns_at_once_with_what_is_there(rig: Rig) -> None:
    await rig.desk("acme").submit([submission(number) for number in range(3)])

    async with asyncio.timeout(PATIENCE_SECONDS):
        deliveries = await rig.queue.take(BULK, 10, 10 * PATIENCE_SECONDS)

    assert [delivery.body.id for delivery in deliveries] == [submission(number).id for number in range(3)]


async def test_a_waiting_take_returns_with_the_first_job_to_come(rig: Rig) -> None:
    waiting = asyncio.create_task(rig.queue.take(BULK, 10, 10 * PATIENCE_SECONDS))
    assert await rig.queue.take(JobsOf(Lane.INTERACTIVE), 1, 0.05) == []
    await rig.desk("acme").submit([submission()])

    async with asyncio.timeout(PATIENCE_SECONDS):
        [delivery] = await waiting

    assert delivery.body.id == submission().id


async def test_a_take_is_empty_when_nothing_comes_in_time(rig: Rig) -> None:
    assert await rig.queue.take(BULK, 10, 0.05) == []
    assert await rig.queue.take(SMALL, 10, 0) == []


async def test_a_take_brings_no_more_than_asked_for_and_leaves_the_rest(rig: Rig) -> None:
    await rig.desk("acme").submit([submission(number) for number in range(5)])

    first = await rig.queue.take(BULK, 2, PATIENCE_SECONDS)
    rest = await rig.queue.take(BULK, 10, PATIENCE_SECONDS)

    assert (len(first), len(rest)) == (2, 3)
    assert {delivery.deliveries for delivery in [*first, *rest]} == {1}


async def test_a_cancelled_take_swallows_nothing(rig: Rig) -> None:
    waiting = asyncio.create_task(rig.queue.take(BULK, 10, 10 * PATIENCE_SECONDS))
    assert await rig.queue.take(JobsOf(Lane.INTERACTIVE), 1, 0.05) == []
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await rig.desk("acme").submit([submission()])

    [delivery] = await rig.queue.take(BULK, 10, PATIENCE_SECONDS)

    assert delivery.deliveries == 1


async def test_lanes_and_targets_are_queues_of_their_own(rig: Rig) -> None:
    await rig.desk("acme").submit([submission(1, Lane.INTERACTIVE), submission(2, Lane.BULK)])
    await rig.queue.publish([work(3), work(4, target="mixtral")])

    taken = await asyncio.gather(
        rig.queue.take(JobsOf(Lane.INTERACTIVE), 10, PATIENCE_SECONDS),
        rig.queue.take(BULK, 10, PATIENCE_SECONDS),
        rig.queue.take(SMALL, 10, PATIENCE_SECONDS),
        rig.queue.take(WorkOf("mixtral", Lane.BULK), 10, PATIENCE_SECONDS),
        rig.queue.take(WorkOf("llama-8b", Lane.STANDARD), 10, 0),
    )

    assert [[number_of(delivery.body) for delivery in deliveries] for deliveries in taken] == [[1], [2], [3], [4], []]


async def test_two_dispatchers_never_hold_the_same_job(rig: Rig) -> None:
    await rig.desk("acme").submit([submission(number) for number in range(40)])

    taken = []
    while len(taken) < 40:
        pair = await asyncio.gather(rig.queue.take(BULK, 7, 0.1), rig.rival.take(BULK, 7, 0.1))
        taken += [delivery.body.id for deliveries in pair for delivery in deliveries]

    assert sorted(taken) == [submission(number).id for number in range(40)]


async def test_a_tenants_jobs_are_taken_without_those_of_others(rig: Rig) -> None:
    await rig.desk("acme").submit([submission(number) for number in range(50)])
    await rig.desk("globex").submit([submission(90), submission(91)])

    theirs = await rig.queue.take(JobsOf(Lane.BULK, "globex"), 10, PATIENCE_SECONDS)
    ours = await rig.rival.take(JobsOf(Lane.BULK, "acme"), 3, PATIENCE_SECONDS)

    assert [number_of(delivery.body) for delivery in theirs] == [90, 91]
    assert [number_of(delivery.body) for delivery in ours] == [0, 1, 2]
    assert await rig.queue.take(JobsOf(Lane.STANDARD, "acme"), 10, 0) == []
    assert await rig.queue.take(JobsOf(Lane.BULK, "globex"), 10, 0) == []


async def test_a_waiting_take_returns_with_the_first_job_of_its_tenant(rig: Rig) -> None:
    waiting = asyncio.create_task(rig.queue.take(JobsOf(Lane.BULK, "globex"), 10, 10 * PATIENCE_SECONDS))
    assert await rig.queue.take(JobsOf(Lane.BULK, "acme"), 1, 0.05) == []
    await rig.desk("acme").submit([submission(1)])
    await rig.desk("globex").submit([submission(2)])

    async with asyncio.timeout(PATIENCE_SECONDS):
        [delivery] = await waiting

    assert number_of(delivery.body) == 2


class NotedLock(asyncio.Lock):
    """A lock that tells when it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = asyncio.Event()

    async def acquire(self) -> bool:
        self.wanted.set()
        return await super().acquire()


async def test_a_large_take_lets_others_read_before_all_of_it_is_read(rig: Rig) -> None:
    await rig.desk("acme").submit([submission(n) for n in range(64)])
    lock = rig.queue.reading = NotedLock()
    async with lock:
        lock.wanted.clear()
        taking = asyncio.create_task(rig.queue.take(BULK, 64, 0.0))
        await lock.wanted.wait()
    async with lock:
        assert not taking.done()
    assert len(await taking) == 64
