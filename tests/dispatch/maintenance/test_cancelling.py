"""A job that is called off is answered at once, wherever it is, and nothing more is run for it."""

from __future__ import annotations

import asyncio

import pytest
from patience import PATIENCE_SECONDS

from fleet.dispatch.maintenance import cancelling
from fleet.dispatch.maintenance.cancelling import Cancelling
from fleet.model.attempt import Failure, FailureKind
from fleet.model.cancellation import Cancellation
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Status, Work
from queues.jetstream.stores.cancels import MemoryCancels


def entries_of(bench, job_id):
    return [entry for entry in bench.ledger() if entry["id"] == job_id]


async def test_a_running_job_is_stopped_and_answered_and_its_slot_is_free(bench, sure, with_target):
    with_target("llama-8b", max_in_flight=1, batch_size=1)
    backend = bench.backend("llama-8b", sure, open_gate=False)
    [first] = await bench.submit()
    async with bench.running():
        await backend.begun.wait()
        await bench.desk.cancel(first)
        result = await bench.result(first)
        assert (result.status, result.reason) == (Status.CANCELLED, Reason.CANCELLED)
        assert backend.stopped == [f"acme.{first}"]
        # The backend still holds the first call: only the slot tells that another may run.
        backend.begun.clear()
        await bench.submit(lane=Lane.STANDARD)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await backend.begun.wait()
    [entry] = entries_of(bench, first)
    assert (entry["status"], entry["attempt"]["failure"]["kind"]) == ("cancelled", "cancelled")
    [attempt] = result.attempts
    assert isinstance(attempt.outcome, Failure)
    assert attempt.outcome.kind is FailureKind.CANCELLED


async def test_only_one_of_a_micro_batch_is_stopped(bench, sure, with_target):
    with_target("llama-8b", batch_size=2, batch_wait_seconds=60.0, max_in_flight=2)
    backend = bench.backend("llama-8b", sure, open_gate=False)
    first, second = await bench.submit(2)
    async with bench.running():
        await backend.begun.wait()
        await bench.desk.cancel(first)
        assert (await bench.result(first)).status is Status.CANCELLED
        backend.gate.set()
        assert (await bench.result(second)).status is Status.SUCCEEDED
        assert (await bench.result(first)).status is Status.CANCELLED


async def test_a_waiting_job_is_answered_at_once_and_never_runs(bench, sure, with_target):
    with_target("llama-8b", max_in_flight=1, batch_size=1)
    backend = bench.backend("llama-8b", sure, open_gate=False)
    ids = await bench.submit(6)
    async with bench.running():
        await backend.begun.wait()
        await bench.desk.cancel(ids[5])
        assert (await bench.result(ids[5])).status is Status.CANCELLED
        backend.gate.set()
        for job_id in ids[:5]:
            assert (await bench.result(job_id)).status is Status.SUCCEEDED
        while not entries_of(bench, ids[5]):
            await bench.broker.changed_once()
    assert sum(len(batch) for batch in backend.batches) == 5
    [entry] = entries_of(bench, ids[5])
    assert (entry["status"], entry["attempt"]) == ("cancelled", None)
    assert (await bench.queue.depths()).by_target() == {}


async def test_a_wish_from_before_the_dispatcher_started_holds(bench, sure):
    backend = bench.backend("llama-8b", sure)
    [job_id] = await bench.submit()
    await bench.desk.cancel(job_id)
    async with bench.running():
        assert (await bench.result(job_id)).status is Status.CANCELLED
    assert backend.batches == []


async def test_an_unheard_of_id_is_cancelled_and_stays_so_for_the_job_that_comes_under_it(bench, sure):
    backend = bench.backend("llama-8b", sure)
    async with bench.running():
        await bench.desk.cancel("job-interactive-000000000000")
        assert (await bench.result("job-interactive-000000000000")).status is Status.CANCELLED
        [job_id] = await bench.submit()
        while not entries_of(bench, job_id):
            await bench.broker.changed_once()
    assert backend.batches == []


async def test_an_answered_job_keeps_its_answer(bench, sure):
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit()
    async with bench.running() as dispatcher:
        assert (await bench.result(job_id)).status is Status.SUCCEEDED
        await bench.desk.cancel(job_id)
        await bench.desk.cancel("job-interactive-999999999999")
        await bench.result("job-interactive-999999999999")
        assert (await bench.result(job_id)).status is Status.SUCCEEDED
        assert len(bench.broker.stored("results")) == 2
    assert dispatcher is not None


async def test_another_tenants_job_of_the_same_id_runs_on(bench, sure):
    backend = bench.backend("llama-8b", sure, open_gate=False)
    [job_id] = await bench.submit()
    async with bench.running():
        await backend.begun.wait()
        globex = type(bench.desk)(bench.broker, "globex")
        await globex.cancel(job_id)
        while await globex.result(job_id) is None:
            await bench.broker.changed_once()
        backend.gate.set()
        assert (await bench.result(job_id)).status is Status.SUCCEEDED


class AwayOnce(MemoryCancels):
    """The broker is away when it is first asked how jobs have ended."""

    away = True

    async def outcomes(self, cancellations):
        if self.away:
            self.away = False
            raise QueueUnavailable("away")
        return await super().outcomes(cancellations)


async def test_an_outage_delays_the_answer_only(bench, monkeypatch):
    monkeypatch.setattr(cancelling, "PAUSE_SECONDS", 0.0)
    stop = asyncio.Event()
    watching = Cancelling(AwayOnce(bench.broker), bench.queue, bench.broker)
    task = asyncio.create_task(watching.watch(stop))
    await bench.desk.cancel("job-interactive-000000000000")
    assert (await bench.result("job-interactive-000000000000")).status is Status.CANCELLED
    stop.set()
    await task


def test_what_is_remembered_is_bounded_by_number_and_age(bench, monkeypatch):
    monkeypatch.setattr(cancelling, "MOST_KEPT", 3)
    held = Cancelling(MemoryCancels(bench.broker), bench.queue, bench.broker)
    wishes = [Cancellation("acme", f"job-{number:012d}") for number in range(5)]
    assert held.take(wishes) == wishes
    assert held.take(wishes[2:]) == [], "known ones are not new"
    assert held.take(wishes[:1]) == wishes[:1], "forgotten ones are"
    bench.broker.ahead_seconds += cancelling.KEPT_SECONDS + 1
    assert held.take(wishes[3:]) == wishes[3:]


@pytest.mark.parametrize("shadowed", [False, True])
async def test_neither_a_job_nor_a_comparison_behind_it_runs_once_it_is_called_off(bench, sure, shadowed):
    """The comparison has an id of its own and belongs to the job all the same."""
    from dataclasses import replace

    from fleet.model.attempt import Attempt
    from fleet.model.job import Job, Plan
    from fleet.model.result import Shadow

    strong = bench.backend("llama-70b", sure)
    job = Job("job-0000000000000001", "acme", Lane.BULK, "classify.sentiment", Plan.PAID, {"messages": []}, 1.0)
    kept = Attempt(1, "llama-8b", Reason.ROUTED, 1.0, 2.0, sure(None), 0.9)
    shadow = Shadow(job.id, "llama-70b", 1, 1.0) if shadowed else None
    carried = replace(job, id="shadow-000000000001") if shadowed else job
    reason = Reason.SHADOW if shadowed else Reason.LOW_CONFIDENCE
    await bench.desk.cancel(job.id)
    async with bench.running():
        assert (await bench.result(job.id)).status is Status.CANCELLED
        await bench.queue.publish([Work(carried, "llama-70b", reason, 1, (kept,), shadow)])
        while (await bench.queue.depths()).by_target():
            await bench.broker.changed_once()
    assert strong.batches == []
