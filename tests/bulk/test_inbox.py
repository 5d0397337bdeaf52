"""An inbox reads results that are announced together in one breath, and hands each on once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack

from memory_fleet import MemoryFleet, succeeded

from fleet.bulk.inbox import Inbox
from fleet.model.job import Job, Lane, Plan
from fleet.model.result import Result
from queues.memory import MemoryDesk

NEVER_SECONDS = 3600.0
JOBS = [
    Job(f"job-{number:012d}", "acme", Lane.BULK, "chat", Plan.PAID, {"messages": []}, submitted_at=1.0)
    for number in range(250)
]
RESULTS = [succeeded(job, job.id) for job in JOBS]


class CountingDesk(MemoryDesk):
    """Notes how many results each look asks for; announcements are all that leads to one."""

    def note(self) -> list[int]:
        self.looks: list[int] = []
        return self.looks

    async def stored(self, job_ids: Sequence[str]) -> Sequence[Result | None]:
        self.looks.append(len(job_ids))
        return await super().stored(job_ids)


async def test_results_that_are_announced_together_are_asked_for_together() -> None:
    fleet = MemoryFleet()
    desk = CountingDesk(fleet.broker, "acme")
    looks = desk.note()
    async with Inbox(desk, NEVER_SECONDS) as inbox:
        with ExitStack() as stack:
            awaited = [stack.enter_context(inbox.expecting(job.id)) for job in JOBS]
            for _ in range(5):  # it listens
                await asyncio.sleep(0)
            await fleet.publish(*RESULTS)
            given = await asyncio.gather(*awaited)

    assert [result.job_id for result in given] == [job.id for job in JOBS]
    assert looks == [100, 100, 50]


async def test_a_taker_gets_its_result_once_and_a_forgotten_one_gets_none() -> None:
    fleet = MemoryFleet()
    taken: list[tuple[str, str]] = []
    first, second = (lambda result, name=name: taken.append((name, result.job_id)) for name in ("first", "second"))
    async with Inbox(fleet.desk("acme"), NEVER_SECONDS) as inbox:
        with inbox.expecting(JOBS[0].id) as awaited:
            inbox.expect(JOBS[0].id, first)
            inbox.expect(JOBS[0].id, second)
            inbox.forget(JOBS[0].id, second)
            for _ in range(5):
                await asyncio.sleep(0)
            await fleet.publish(RESULTS[0])
            assert (await awaited).job_id == JOBS[0].id
            await fleet.publish(RESULTS[0])
        inbox.forget(JOBS[0].id, first)

    assert taken == [("first", JOBS[0].id)]
