"""One result of each job is stored, and its tenant reads and hears it, whatever the queue is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TypeVar

from patience import PATIENCE_SECONDS
from queue_rigs import Rig

from fleet.model.attempt import Answer, Usage
from fleet.model.delivery import JobsOf, Stored
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Result, Status

NEW, REPEAT, REFUSED = Stored.NEW, Stored.REPEAT, Stored.REFUSED
BULK = JobsOf(Lane.BULK)

Heard = TypeVar("Heard")


def result(number: int = 0, tenant: str = "acme", status: Status = Status.SUCCEEDED) -> Result:
    return Result(f"job-{number:012d}", tenant, status, Reason.CONFIDENT, finished_at=5.0, task="nudge")


async def test_a_second_result_is_refused_and_the_first_kept(rig: Rig) -> None:
    posts = [result(status=Status.SUCCEEDED), result(status=Status.FAILED)]

    assert await rig.queue.publish(posts) == [NEW, REPEAT]
    assert await rig.queue.publish([result(status=Status.EXPIRED)]) == [REPEAT]
    assert await rig.desk("acme").result(result().job_id) == result(status=Status.SUCCEEDED)


async def test_what_is_no_result_does_not_keep_the_result_out(rig: Rig) -> None:
    await rig.inject("results.acme.job-000000000001", b'{"stream": "JOBS", "seq": 17}')

    assert await rig.queue.publish([result(1), result(2)]) == [NEW, NEW]
    assert await rig.queue.publish([result(1), result(3)]) == [REPEAT, NEW]
    assert await rig.desk("acme").result(result(1).job_id) == result(1)


def answered(text: str) -> Answer:
    return Answer({"role": "assistant", "content": text}, "stop", Usage(1, 1), "mixtral-8x7b")


async def test_a_letter_that_can_never_be_stored_is_refused_and_its_neighbours_are_not(rig: Rig) -> None:
    letters = [result(1), replace(result(2), answer=answered("half a pair: \ud83d")), result(3)]

    assert await rig.queue.publish(letters) == [NEW, REFUSED, NEW]
    assert [await rig.desk("acme").result(letter.job_id) for letter in letters] == [letters[0], None, letters[2]]


async def test_two_tenants_may_use_the_same_job_id(rig: Rig) -> None:
    assert await rig.queue.publish([result(tenant="acme"), result(tenant="globex")]) == [NEW, NEW]
    assert (await rig.desk("globex").result(result().job_id)) == result(tenant="globex")


async def test_there_is_no_result_before_there_is_one_nor_in_what_is_none(rig: Rig) -> None:
    await rig.inject("results.acme.job-000000000009", b'{"stream": "JOBS", "seq": 17}')

    assert await rig.desk("acme").result(result(8).job_id) is None
    assert await rig.desk("acme").result(result(9).job_id) is None


async def test_a_desk_hears_every_result_of_its_tenant_from_the_moment_it_listens(rig: Rig) -> None:
    await rig.queue.publish([result(1)])
    results = rig.desk("acme").results()
    heard = asyncio.create_task(_first(results, 2))
    # Whoever listens has subscribed by the time an empty take on the same connection returns.
    assert await rig.queue.take(BULK, 1, 0.05) == []
    await rig.inject("results.acme.job-000000000009", b'{"stream": "JOBS", "seq": 17}')
    await rig.queue.publish([result(2), result(3, tenant="globex"), result(4)])

    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await heard == [result(2), result(4)]


async def test_a_desk_hears_the_ids_of_what_is_announced_and_reads_results_together(rig: Rig) -> None:
    desk, none = rig.desk("acme"), "job-000000000008"
    heard = asyncio.create_task(_first(desk.announced(), 2))
    assert await rig.queue.take(BULK, 1, 0.05) == []  # it listens, as above
    await rig.queue.publish([result(2), result(3, tenant="globex"), result(4)])

    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await heard == [result(2).job_id, result(4).job_id]
    asked = [result(4).job_id, none, "no id: *", result(2).job_id, result(3).job_id]
    assert await desk.stored(asked) == [result(4), None, None, result(2), None]
    assert await desk.stored([]) == []


async def _first(results: AsyncIterator[Heard], count: int) -> list[Heard]:
    heard: list[Heard] = []
    async for each in results:
        heard.append(each)
        if len(heard) == count:
            break
    return heard
