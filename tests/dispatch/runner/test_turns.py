"""Calls that wait for their turn: who does not wait for them, and what becomes of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from patience import PATIENCE_SECONDS

from fleet.dispatch.runner import suspects
from fleet.model.attempt import Answer, Usage
from fleet.model.delivery import Ack, JobsOf, Retry, WorkOf
from fleet.model.job import Lane
from fleet.model.money import Account
from fleet.model.reason import Reason
from fleet.model.result import Result, Start, Status, Work
from fleet.model.submission import Submission
from policies.money import day_of, nano_of
from policies.resilience.delivery import SUSPECT_DELIVERIES
from queues.jetstream.stores.spend import accounts_of
from queues.memory import MemoryQueue

OWN, PAID = "llama-8b", "gpt-4o"
SLOTS = 4
MESSAGES = [{"role": "user", "content": "All is well."}]
DAY_SECONDS = 86_400.0


@pytest.fixture(autouse=True)
def few_slots(with_target):
    with_target(OWN, max_in_flight=SLOTS, batch_size=SLOTS)
    with_target(PAID, max_in_flight=SLOTS)


@pytest.fixture
def good():
    return lambda call: Answer({"role": "assistant", "content": "positive"}, "stop", Usage(10, 2), "scripted")


def job_for(target, name, until_at, lane=Lane.INTERACTIVE):
    request = {"model": target, "messages": MESSAGES}
    return Submission(f"{name:0>16}", "classify.sentiment", request, lane=lane, deadline_at=until_at)


async def submit(bench, target, *names, seconds=DAY_SECONDS):
    jobs = [job_for(target, name, bench.broker.now() + seconds) for name in names]
    await bench.desk.submit(jobs)
    return [job.id for job in jobs]


async def begin_and_die(bench, target, good, calls):
    """A dispatcher ends with so many calls of the target under way."""
    backend = bench.backend(target, good, open_gate=False)
    before = asyncio.all_tasks()
    running = asyncio.create_task(bench.dispatcher().run())
    while backend.running < calls:
        await bench.broker.changed_once()
    for task in asyncio.all_tasks() - before:
        task.cancel()
    await asyncio.gather(running, return_exceptions=True)
    bench.broker.end_leases()


@pytest.fixture
async def alone(bench, good):
    """A backend whose next call is a paid one that is repeated alone, and ends when its gate is open."""
    await submit(bench, PAID, "alone")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await begin_and_die(bench, PAID, good, 1)
    return bench.backend(PAID, good, open_gate=False)


async def handed_out(bench, source, times):
    """Take everything, and hand it back so often but for the last time."""
    queue = MemoryQueue(bench.broker)
    held = await queue.take(source, 100, 0.0)
    for _ in range(times - 1):
        await queue.settle([Retry(each) for each in held])
        held = await queue.take(source, 100, 0.0)
    return held


async def work_handed_out(bench, names, times, target=OWN):
    """Work for a target in another dispatcher's hands."""
    ids = await submit(bench, target, *names)
    jobs = await bench.queue.take(JobsOf(Lane.INTERACTIVE, "acme"), 100, 0.0)
    jobs = [each for each in jobs if each.body.id in ids]
    await bench.queue.publish([Work(each.body, target, Reason.ROUTED, 0, (), None) for each in jobs])
    await bench.queue.settle([Ack(each) for each in jobs])
    return ids, await handed_out(bench, WorkOf(target, Lane.INTERACTIVE), times)


async def hand_back(bench, held):
    await bench.queue.settle([Retry(each) for each in held])


async def test_own_work_that_another_dispatcher_handed_back_waits_for_no_paid_call(bench, good, alone):
    bench.backend(OWN, good)
    ids, held = await work_handed_out(bench, ["a", "b", "c"], 1)
    async with asyncio.timeout(PATIENCE_SECONDS), bench.running():
        await alone.begun.wait()
        await hand_back(bench, held)
        assert {(await bench.result(each)).status for each in ids} == {Status.SUCCEEDED}
        assert alone.running == 1


async def test_new_work_waits_for_none_that_came_back_often_and_is_not_read_while_a_paid_call_runs_alone(
    bench, good, alone
):
    bench.backend(OWN, good)
    ids, held = await work_handed_out(bench, ["a", "b", "c"], SUSPECT_DELIVERIES)
    async with asyncio.timeout(PATIENCE_SECONDS), bench.running():
        await alone.begun.wait()
        await hand_back(bench, held)
        for name in "123":
            [new] = await submit(bench, OWN, name)
            assert (await bench.result(new)).status is Status.SUCCEEDED
        assert [await bench.desk.result(each) for each in ids] == [None] * 3
        alone.gate.set()
        assert {(await bench.result(each)).status for each in ids} == {Status.SUCCEEDED}


async def test_new_jobs_wait_for_none_of_their_lane_that_came_back_often(bench, good, alone):
    bench.backend(OWN, good)
    [old] = await submit(bench, OWN, "old")
    held = await handed_out(bench, JobsOf(Lane.INTERACTIVE, "acme"), SUSPECT_DELIVERIES)
    async with asyncio.timeout(PATIENCE_SECONDS), bench.running():
        await alone.begun.wait()
        await hand_back(bench, held)
        for name in "123":
            [new] = await submit(bench, OWN, name)
            assert (await bench.result(new)).status is Status.SUCCEEDED
        assert await bench.desk.result(old) is None
        alone.gate.set()
        assert (await bench.result(old)).status is Status.SUCCEEDED


async def test_a_paid_job_that_waits_for_its_turn_ends_at_its_deadline_and_its_money_goes_back_once(bench, good):
    ids = await submit(bench, PAID, "a", "b", "c", seconds=31.0 + 3.0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await begin_and_die(bench, PAID, good, 3)
        lost = sum((await accounts(bench))[None].open.values())
        backend = bench.backend(PAID, good, open_gate=False)
        async with bench.running():
            await backend.begun.wait()
            [[call]] = backend.batches
            [alone] = [each for each in ids if call.id.endswith(each)]
            ends = [await bench.result(each) for each in ids if each != alone]
            assert backend.running == 1
            backend.gate.set()
            cost = (await bench.result(alone)).cost_usd
    assert {(end.status, end.reason) for end in ends} == {(Status.EXPIRED, Reason.DEADLINE_PASSED)}
    account = (await accounts(bench))[None]
    assert (account.spent, sum(account.open.values())) == (nano_of(cost), lost)


async def accounts(bench):
    return await accounts_of(bench.cells, day_of(bench.broker.now()))


class OvertakenQueue(MemoryQueue):
    """Before the first record is stored here, another dispatcher begins the call, begins it again, and answers."""

    overtaken = False

    async def publish(self, outbound):
        first = outbound[0] if outbound else None
        if isinstance(first, Start) and not self.overtaken:
            self.overtaken = True
            others = [replace(first, by="another"), replace(first, by="another", call=2)]
            done = Result(first.job_id, first.tenant, Status.SUCCEEDED, Reason.CONFIDENT, first.at)
            await super().publish([*others, done])
        return await super().publish(outbound)


async def test_the_line_of_a_call_that_another_dispatcher_made_counts_no_money_of_this_one(bench, good):
    backend = bench.backend(PAID, good)
    await submit(bench, PAID, "job")
    async with asyncio.timeout(PATIENCE_SECONDS), bench.running(OvertakenQueue(bench.broker)):
        while not bench.ledger():
            await bench.broker.changed_once()
    [line] = bench.ledger()
    assert (line["attempt"]["failure"]["kind"], backend.batches) == ("interrupted", [])
    assert line["attempt"].get("cost_usd", 0.0) == 0.0
    assert await accounts(bench) == {None: Account(), "acme": Account()}


async def test_a_bug_met_by_one_batch_keeps_no_slot_and_no_lease(bench, good, with_target, monkeypatch):
    with_target(OWN, max_in_flight=1, batch_size=1)
    bench.backend(OWN, good)
    stumbled = asyncio.Event()

    def stumble(deliveries, job):
        stumbled.set()
        monkeypatch.undo()
        raise ValueError("a bug")

    monkeypatch.setattr(suspects, "is_suspect", stumble)
    [first] = await submit(bench, OWN, "first")
    async with asyncio.timeout(PATIENCE_SECONDS), bench.running() as dispatcher:
        await stumbled.wait()
        [second] = await submit(bench, OWN, "second")
        assert (await bench.result(second)).status is Status.SUCCEEDED
        assert len(dispatcher._parts.leases) == 0
        bench.broker.end_leases()
        assert (await bench.result(first)).status is Status.SUCCEEDED


async def crash_in_company(bench, good, names):
    """Jobs of the fleet's own target whose first recorded call never ended."""
    ids, held = await work_handed_out(bench, names, SUSPECT_DELIVERIES)
    await hand_back(bench, held)
    await begin_and_die(bench, OWN, good, len(names))
    return ids


async def test_suspects_that_wait_for_their_turn_leave_half_of_the_slots_to_new_jobs(bench, good, with_target):
    with_target(OWN, max_in_flight=4 * SLOTS, batch_size=4 * SLOTS)
    async with asyncio.timeout(PATIENCE_SECONDS):
        ids = await crash_in_company(bench, good, [f"suspect{number}" for number in range(3 * SLOTS)])
        with_target(OWN, max_in_flight=SLOTS, batch_size=SLOTS)
        backend = bench.backend(OWN, good, open_gate=False)
        async with bench.running():
            await backend.begun.wait()
            assert len(backend.batches[0]) == SLOTS // 2
            new = await submit(bench, OWN, "new1", "new2")
            while backend.running < SLOTS:
                await bench.broker.changed_once()
            assert {call.id for batch in backend.batches[1:] for call in batch} == {f"acme.{each}" for each in new}
            backend.gate.set()
            assert {(await bench.result(each)).status for each in (*new, *ids)} == {Status.SUCCEEDED}


async def test_a_dispatcher_that_drains_begins_no_call_that_waited_for_its_turn(bench, alone):
    async with asyncio.timeout(PATIENCE_SECONDS):
        dispatcher = bench.dispatcher()
        running = asyncio.create_task(dispatcher.run())
        await alone.begun.wait()
        ids, held = await work_handed_out(bench, ["late"], 1, PAID)
        await hand_back(bench, held)
        while len(dispatcher._parts.leases) < 2:
            await bench.broker.changed_once()
        draining = asyncio.create_task(dispatcher.drain())
        while len(dispatcher._parts.leases) > 1:
            await bench.broker.changed_once()
        alone.gate.set()
        await asyncio.gather(draining, running)
        assert [len(batch) for batch in alone.batches] == [1]
        async with bench.running():
            assert {(await bench.result(each)).status for each in ids} == {Status.SUCCEEDED}
