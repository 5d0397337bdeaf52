"""The in-process queue lives by the clock it is given."""

from __future__ import annotations

import asyncio

from patience import PATIENCE_SECONDS

from fleet.model.delivery import Ack, Retry, Stored, WorkOf
from fleet.model.job import Job, Lane, Plan
from fleet.model.reason import Reason
from fleet.model.result import Work
from queues.memory import MemoryBroker, MemoryQueue

SMALL = WorkOf("llama-8b", Lane.BULK)


def work(number: int = 0) -> Work:
    request = {"messages": [{"role": "user", "content": "Remind me."}]}
    return Work(
        Job(f"job-{number:012d}", "acme", Lane.BULK, "nudge", Plan.PAID, request, 1.0), "llama-8b", Reason.ROUTED
    )


class Time:
    def __init__(self) -> None:
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at


def queue_at(now: Time) -> tuple[MemoryBroker, MemoryQueue]:
    broker = MemoryBroker(now, ack_wait_seconds=30.0, duplicate_window_seconds=120.0)
    return broker, MemoryQueue(broker)


async def test_a_lease_ends_exactly_when_it_is_due() -> None:
    now = Time()
    _, queue = queue_at(now)
    await queue.publish([work()])
    await queue.take(SMALL, 1, 0)

    now.at += 29.999
    assert await queue.take(SMALL, 1, 0) == []
    now.at += 0.001
    [again] = await queue.take(SMALL, 1, 0)

    assert (again.deliveries, again.stored_at) == (2, 1_000.0)


async def test_an_extended_lease_ends_a_whole_lease_later() -> None:
    now = Time()
    _, queue = queue_at(now)
    await queue.publish([work()])
    deliveries = await queue.take(SMALL, 1, 0)

    now.at += 20
    await queue.extend(deliveries)
    now.at += 29
    assert await queue.take(SMALL, 1, 0) == []
    now.at += 1
    assert len(await queue.take(SMALL, 1, 0)) == 1


async def test_jobs_come_back_in_order_and_a_late_retry_does_not_hand_one_out_twice() -> None:
    now = Time()
    _, queue = queue_at(now)
    await queue.publish([work(1), work(2)])
    _, late = await queue.take(SMALL, 2, 0)
    now.at += 30
    [first] = await queue.take(SMALL, 1, 0)

    await queue.settle([Retry(late)])
    rest = await queue.take(SMALL, 10, 0)

    assert [first.body, *(delivery.body for delivery in rest)] == [work(1), work(2)]


async def test_an_acknowledged_job_stays_away_for_ever_and_leaves_the_depth_once() -> None:
    now = Time()
    _, queue = queue_at(now)
    await queue.publish([work(1), work(2)])
    [delivery] = await queue.take(SMALL, 1, 0)

    await queue.settle([Ack(delivery), Ack(delivery), Retry(delivery)])
    now.at += 1_000

    assert (await queue.depths()).by_target() == {"llama-8b": 1}
    assert [each.body for each in await queue.take(SMALL, 10, 0)] == [work(2)]


async def test_an_id_is_forgotten_after_the_window() -> None:
    now = Time()
    _, queue = queue_at(now)

    first = await queue.publish([work()])
    now.at += 119
    within = await queue.publish([work()])
    now.at += 1
    after = await queue.publish([work()])

    assert (first, within, after) == ([Stored.NEW], [Stored.REPEAT], [Stored.NEW])


async def test_moving_the_clock_reaches_a_waiting_take() -> None:
    now = Time()
    broker, queue = queue_at(now)
    await queue.publish([work()])
    await queue.take(SMALL, 1, 0)
    waiting = asyncio.create_task(queue.take(SMALL, 1, PATIENCE_SECONDS))
    await queue.take(WorkOf("mixtral", Lane.BULK), 1, 0.01)

    now.at += 30
    broker.wake()

    async with asyncio.timeout(PATIENCE_SECONDS):
        assert len(await waiting) == 1
