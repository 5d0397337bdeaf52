"""What every store of batches does."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from patience import PATIENCE_SECONDS
from queue_rigs import Rig

from fleet.model.attempt import Usage
from fleet.model.batch import Batch, BatchStatus, LineProblem, Place, Progress, Segment, cancelling
from fleet.model.delivery import Ack, JobsOf, WorkOf
from fleet.model.job import JobOptions, Lane, Tier
from fleet.model.reason import Reason
from fleet.model.result import Result, Status, Work
from fleet.model.submission import Submission
from queues.wire.batches.records import encode_batch

INPUT = f"file-{'0' * 24}"


def batch(number: int, tenant: str = "acme") -> Batch:
    return Batch(f"batch_{number:024x}", tenant, "/v1/chat/completions", INPUT, 86_400.0, time.time())


async def stored(rig: Rig, *numbers: int, tenant: str = "acme") -> list[Batch]:
    made = [batch(number, tenant) for number in numbers]
    for each in made:
        assert await rig.batches(tenant).create(each)
    return made


async def test_a_batch_is_read_as_it_was_stored_in_every_field(rig: Rig) -> None:
    full = Batch(
        f"batch_{'a' * 24}",
        "acme",
        "/v1/chat/completions",
        INPUT,
        3600.0,
        5.0,
        metadata={"night": "ünd ☾"},
        defaults=JobOptions(tier=Tier.SIMPLE, cloud=["openai"], deadline_seconds=60.0),
        keep_going=True,
        max_cost_nano_usd=10**12,
        output_expires_seconds=3600.0,
        retries=f"batch_{'b' * 24}",
        status=BatchStatus.IN_PROGRESS,
        in_progress_at=6.0,
        problems=(LineProblem(3, 120, None, "line", "must be JSON in UTF-8"),),
        problem_count=1,
        total=10,
        completed=4,
        failed=1,
        usage=Usage(100, 20, 30, 0, 5),
        cost_nano_usd=123,
        output=(Segment("0123456789abcdef", 400, 4, 1),),
        errors=(Segment("fedcba9876543210", 100, 1, 1),),
        progress=Progress(4, "eJxj", 10, Place(0, 0, 0), "runner-1", 36.0),
    )

    await rig.batches("acme").create(full)

    found = await rig.batches("acme").get(full.id)
    assert found is not None
    assert found[0] == full


async def test_an_id_is_given_once(rig: Rig) -> None:
    [first] = await stored(rig, 1)

    assert await rig.batches("acme").create(replace(first, endpoint="/v1/responses")) is False

    found = await rig.batches("acme").get(first.id)
    assert found is not None and found[0] == first


async def test_of_two_that_replace_one_revision_one_is_told_that_it_was_too_late(rig: Rig) -> None:
    [first] = await stored(rig, 1)
    found = await rig.batches("acme").get(first.id)
    assert found is not None

    second = await rig.batches("acme").update(replace(first, total=1), found[1])
    late = await rig.batches("acme").update(replace(first, total=2), found[1])

    assert second is not None and late is None
    assert await rig.batches("acme").get(first.id) == (replace(first, total=1), second)
    assert await rig.batches("acme").update(replace(first, total=3), second) is not None


async def test_batches_are_listed_newest_first_by_the_page(rig: Rig) -> None:
    made = [each.id for each in await stored(rig, 5, 3, 4, 1)][::-1]
    store = rig.batches("acme")

    async def ids(limit: int | None = None, after: str | None = None) -> list[str]:
        return [each.id for each in await store.list(limit, after)]

    assert await ids() == made
    assert await ids(2) == made[:2]
    assert await ids(2, made[1]) == made[2:]
    assert await ids(after=made[-1]) == []
    assert await ids(after=f"batch_{'f' * 24}") == []


@pytest.mark.parametrize("batch_id", [f"batch_{'0' * 24}", "batch_1", "*", ">", "a.b", ""])
async def test_an_id_that_no_batch_has_is_no_error(rig: Rig, batch_id: str) -> None:
    assert await rig.batches("acme").get(batch_id) is None
    assert [each async for each in rig.batches("acme").watch(batch_id)] == []


async def test_another_tenants_batch_is_not_there(rig: Rig) -> None:
    [mine] = await stored(rig, 1)
    globex = rig.batches("globex")

    assert await globex.get(mine.id) is None
    assert await globex.list() == []
    assert [each async for each in globex.watch(mine.id)] == []


async def test_a_watcher_sees_the_batch_now_and_up_to_its_end(rig: Rig) -> None:
    [first] = await stored(rig, 1)
    store, watcher = rig.batches("acme"), rig.batches("acme").watch(first.id)
    seen = []

    async with asyncio.timeout(PATIENCE_SECONDS):
        async for each in watcher:
            seen.append(each.status)
            found = await store.get(first.id)
            assert found is not None
            if each.status is BatchStatus.VALIDATING:
                await store.update(replace(first, status=BatchStatus.IN_PROGRESS), found[1])
            elif each.status is BatchStatus.IN_PROGRESS:
                await store.update(replace(first, status=BatchStatus.COMPLETED), found[1])

    assert seen == [BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS, BatchStatus.COMPLETED]


async def test_any_number_may_watch(rig: Rig) -> None:
    [first] = await stored(rig, 1)
    store = rig.batches("acme")

    async def last() -> Batch:
        return [each async for each in store.watch(first.id)][-1]

    watching = [asyncio.create_task(last()) for _ in range(5)]
    found = await store.get(first.id)
    assert found is not None
    await store.update(replace(first, status=BatchStatus.CANCELLED), found[1])

    async with asyncio.timeout(PATIENCE_SECONDS):
        assert {each.status for each in await asyncio.gather(*watching)} == {BatchStatus.CANCELLED}


async def test_a_runner_sees_what_has_not_ended_of_all_tenants_oldest_first(rig: Rig) -> None:
    made = [*await stored(rig, 7), *await stored(rig, 2, tenant="globex"), *await stored(rig, 1)]
    everything = rig.all_batches()

    assert [each.id for each, _ in await everything.unfinished()] == [each.id for each in made]

    for each, revision in await everything.unfinished():
        ended = replace(each, status=BatchStatus.COMPLETED, told=each.tenant == "acme")
        assert await everything.batches(each.tenant).update(ended, revision) is not None
    assert [each.id for each, _ in await everything.unfinished()] == [made[1].id], "its end is not told"


async def test_a_runner_is_told_that_there_is_a_batch(rig: Rig) -> None:
    waiting = asyncio.create_task(rig.all_batches().changed(PATIENCE_SECONDS))
    number = 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not waiting.done():  # the first may come before the runner listens
            number += 1
            await stored(rig, number)
            await asyncio.sleep(0)


async def test_a_runner_that_is_told_nothing_looks_again_by_itself(rig: Rig) -> None:
    await rig.all_batches().changed(0.01)


async def test_an_entry_that_is_no_batch_is_not_there(rig: Rig) -> None:
    """A tenant with a login of its own can write anything under its own keys."""
    wanted = batch(1).id
    for body in (b"{}", b"[", b"\xff", encode_batch(batch(1, "globex")), encode_batch(batch(2))):
        await rig.write_entry(f"acme.batch.{wanted}", body)
        assert await rig.batches("acme").get(wanted) is None
        assert await rig.all_batches().unfinished() == []


ROW = Submission("row-000000000001", "nudge", {"messages": [{"role": "user", "content": "Hello."}]}, Lane.BULK)


async def test_a_row_that_waits_is_in_hand_or_has_a_result_is_known_at_every_step(rig: Rig) -> None:
    everything = rig.all_batches()
    unknown = f"{ROW.id}-not"

    async def known() -> set[str]:
        return set(await everything.known("acme", [ROW.id, unknown]))

    assert await known() == set()
    await rig.desk("acme").submit([ROW])
    assert await known() == {ROW.id}
    [delivery] = await rig.queue.take(JobsOf(Lane.BULK), 1, PATIENCE_SECONDS)
    assert await known() == {ROW.id}
    await rig.queue.publish([Work(delivery.body, "llama-8b", Reason.ROUTED)])
    await rig.queue.settle([Ack(delivery)])
    assert await known() == {ROW.id}
    [work] = await rig.queue.take(WorkOf("llama-8b", Lane.BULK), 1, PATIENCE_SECONDS)
    assert await known() == {ROW.id}
    await rig.queue.publish([Result(ROW.id, "acme", Status.SUCCEEDED, Reason.CONFIDENT, 1.0)])
    await rig.queue.settle([Ack(work)])
    assert await known() == {ROW.id}


async def test_another_tenants_row_of_the_same_id_is_not_known(rig: Rig) -> None:
    await rig.desk("globex").submit([ROW])

    assert set(await rig.all_batches().known("acme", [ROW.id])) == set()


def test_only_what_has_not_ended_can_be_cancelled() -> None:
    cancelled = {status: cancelling(replace(batch(1), status=status), 9.0) for status in BatchStatus}

    assert {status for status, each in cancelled.items() if each is not None} == {
        BatchStatus.VALIDATING,
        BatchStatus.IN_PROGRESS,
    }
    assert {(each.status, each.cancelling_at) for each in cancelled.values() if each} == {(BatchStatus.CANCELLING, 9.0)}
