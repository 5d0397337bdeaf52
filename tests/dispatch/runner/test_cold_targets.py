"""Targets without a replica: nothing is called, jobs wait or go elsewhere, and what waited runs with the first one."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from fleet.dispatch.runner import feeder
from fleet.dispatch.state import load, replicas
from fleet.dispatch.state.replicas import STALE_SECONDS, Replicas
from fleet.dispatch.state.traffic import QUEUED_PER_SLOT
from fleet.model.attempt import Failure, FailureKind
from fleet.model.delivery import Retry, WorkOf
from fleet.model.job import Job, Lane, Plan
from fleet.model.reason import Reason
from fleet.model.result import Status, Work
from fleet.model.scaling import Capacity
from queues.memory import MemoryQueue

SMALL, LARGE = "llama-8b", "mixtral-8x7b"
COLD, WARM = Capacity(0), Capacity(1)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Readings and reports come at once; nobody looks again at what waits unless something has changed."""
    monkeypatch.setattr(replicas, "READ_SECONDS", 0.01)
    monkeypatch.setattr(load, "REPORT_SECONDS", 0.01)
    monkeypatch.setattr(feeder, "LOOK_AGAIN_SECONDS", 1e9)


@pytest.fixture
def looks_again(monkeypatch):
    """Time goes by for what waits."""
    monkeypatch.setattr(feeder, "LOOK_AGAIN_SECONDS", 0.01)


class WatchedQueue(MemoryQueue):
    """Remembers what was handed back."""

    def __init__(self, broker):
        super().__init__(broker)
        self.retries = []

    async def settle(self, settlements):
        self.retries += [each for each in settlements if isinstance(each, Retry)]
        await super().settle(settlements)


async def _until_waiting(bench, jobs, target=SMALL):
    while bench.broker.depths().of_target(target) < jobs:
        await bench.broker.changed_once()


def _work(job_id, target=SMALL, left_seconds=3600.0, now=0.0):
    request = {"messages": [{"role": "user", "content": "All is well."}]}
    deadline_at = now + left_seconds
    job = Job(job_id, "acme", Lane.BULK, "classify.sentiment", Plan.PAID, request, now, deadline_at=deadline_at)
    return Work(job, target, Reason.ROUTED, 1)


async def test_a_burst_on_a_cold_target_waits_uncalled_and_is_answered_by_the_first_replica(bench, sure, with_target):
    with_target(SMALL, max_in_flight=4, batch_size=2)
    backend = bench.backend(SMALL, sure)
    bench.replicas(llama_8b=COLD)
    ids = await bench.submit(40, Lane.BULK)
    queue = WatchedQueue(bench.broker)
    async with bench.running(queue):
        await _until_waiting(bench, QUEUED_PER_SLOT * 4)
        await bench.serve.read_again(5)
        assert backend.batches == []
        assert bench.broker.depths().of_target(SMALL) == QUEUED_PER_SLOT * 4, "the rest stays where tenants take turns"
        bench.replicas(llama_8b=WARM)
        results = [await bench.result(job_id) for job_id in ids]
    assert {(result.status, result.target) for result in results} == {(Status.SUCCEEDED, SMALL)}
    assert {attempt.reason for result in results for attempt in result.attempts} == {Reason.ROUTED}
    assert queue.retries == [], "what waits is kept, not handed out again and again"


async def test_an_interactive_job_waits_for_a_cold_target_like_any_other(bench, sure):
    backend = bench.backend(SMALL, sure)
    bench.replicas(llama_8b=COLD)
    queue = WatchedQueue(bench.broker)
    async with bench.running(queue):
        [job_id] = await bench.submit()
        await _until_waiting(bench, 1)
        await bench.serve.read_again(5)
        assert (backend.batches, queue.retries) == ([], [])
        bench.replicas(llama_8b=WARM)
        assert (await bench.result(job_id)).status is Status.SUCCEEDED
    assert queue.retries == []


async def test_who_cannot_wait_for_a_start_goes_on_at_once_and_who_can_waits(bench, sure):
    small, large = bench.backend(SMALL, sure), bench.backend(LARGE, sure)
    bench.replicas(llama_8b=COLD, mixtral_8x7b=WARM)
    async with bench.running():
        [patient] = await bench.submit(1, Lane.STANDARD)
        await _until_waiting(bench, 1)
        [urgent] = await bench.submit()
        result = await bench.result(urgent)
        reported = await bench.loads.until(lambda each: bool(each.tokens_missed))
        assert (small.batches, await bench.desk.result(patient)) == ([], None)
        bench.replicas(llama_8b=WARM, mixtral_8x7b=WARM)
        assert (await bench.result(patient)).target == SMALL
    assert (result.target, [each.reason for each in result.attempts]) == (LARGE, [Reason.TARGET_COLD])
    assert len(large.batches) == 1
    assert set(reported.tokens_missed) == {SMALL}
    assert set(reported.lanes) == {WorkOf(SMALL, Lane.STANDARD), WorkOf(LARGE, Lane.INTERACTIVE)}


async def test_work_stored_for_a_target_that_went_cold_is_not_run_there(bench, sure):
    backend = bench.backend(SMALL, sure)
    bench.replicas(llama_8b=COLD)
    ids = [f"job-stored-{n:010d}" for n in range(3)]
    await bench.queue.publish([_work(job_id, now=bench.broker.now()) for job_id in ids])
    async with bench.running():
        await bench.serve.read_again(5)
        assert backend.batches == []
        bench.replicas(llama_8b=WARM)
        assert {(await bench.result(job_id)).target for job_id in ids} == {SMALL}


async def test_work_of_a_target_that_went_cold_goes_elsewhere_as_soon_as_it_cannot_wait_any_longer(
    bench, sure, looks_again
):
    small = bench.backend(SMALL, sure)
    bench.backend(LARGE, sure)
    bench.replicas(llama_8b=COLD, mixtral_8x7b=WARM)
    await bench.queue.publish([_work("job-stored-0000000000", left_seconds=600.0, now=bench.broker.now())])
    async with bench.running():
        await bench.serve.read_again(5)
        assert await bench.desk.result("job-stored-0000000000") is None
        bench.broker.ahead_seconds += 550.0
        result = await bench.result("job-stored-0000000000")
        assert set((await bench.loads.until(lambda each: bool(each.tokens_missed))).tokens_missed) == {SMALL}
    assert (result.target, [each.reason for each in result.attempts]) == (LARGE, [Reason.TARGET_COLD])
    assert small.batches == []


async def test_jobs_that_wait_for_a_replica_expire_at_their_deadline(bench, sure, looks_again):
    bench.backend(SMALL, sure)
    bench.replicas(llama_8b=COLD)
    async with bench.running():
        [job_id] = await bench.submit(1, Lane.BULK)
        await _until_waiting(bench, 1)
        bench.broker.ahead_seconds += bench.rules.deadlines.bulk_seconds + 1.0
        result = await bench.result(job_id)
    assert (result.status, result.reason) == (Status.EXPIRED, Reason.DEADLINE_PASSED)


async def test_a_job_that_waits_for_a_replica_can_be_called_off(bench, sure, looks_again):
    backend = bench.backend(SMALL, sure)
    bench.replicas(llama_8b=COLD)
    async with bench.running():
        [job_id] = await bench.submit(1, Lane.BULK)
        await _until_waiting(bench, 1)
        await bench.desk.cancel(job_id)
        result = await bench.result(job_id)
    assert (result.status, backend.batches) == (Status.CANCELLED, [])


async def test_what_waited_for_a_replica_is_handed_back_at_the_end(bench, sure):
    bench.backend(SMALL, sure)
    bench.replicas(llama_8b=COLD)
    [job_id] = await bench.submit(1, Lane.BULK)
    async with bench.running():
        await _until_waiting(bench, 1)
        await bench.serve.read_again(5)
    bench.replicas(llama_8b=WARM)
    async with bench.running():
        assert (await bench.result(job_id)).status is Status.SUCCEEDED


async def test_a_job_escalates_to_a_cold_target_and_waits_there(bench, sure, unsure):
    bench.backend(SMALL, unsure)
    large = bench.backend(LARGE, sure)
    bench.replicas(llama_8b=WARM, mixtral_8x7b=COLD)
    async with bench.running():
        [job_id] = await bench.submit(1, Lane.BULK)
        await _until_waiting(bench, 1, LARGE)
        await bench.serve.read_again(5)
        assert large.batches == []
        bench.replicas(llama_8b=WARM, mixtral_8x7b=WARM)
        result = await bench.result(job_id)
    assert [each.target for each in result.attempts] == [SMALL, LARGE]


async def test_what_ran_while_its_target_went_cold_ends_there_and_the_rest_runs_later_for_its_own_reason(
    bench, sure, with_target
):
    with_target(SMALL, max_in_flight=1, batch_size=2)
    backend = bench.backend(SMALL, sure, open_gate=False)
    bench.replicas(llama_8b=WARM)
    pinned = {"messages": [{"role": "user", "content": "Hi."}], "model": SMALL}
    ids = await bench.submit(2, request=pinned)
    async with bench.running():
        await backend.begun.wait()
        bench.replicas(llama_8b=COLD)
        await bench.serve.read_again(3)
        ids += await bench.submit(2, Lane.BULK, request=pinned)
        await _until_waiting(bench, 3)  # the first runs as a direct job
        backend.gate.set()
        await bench.result(ids[0])
        await bench.serve.read_again(3)
        assert len(backend.batches) == 1
        bench.replicas(llama_8b=WARM)
        results = [await bench.result(job_id) for job_id in ids]
    assert {each.reason for result in results for each in result.attempts} == {Reason.PINNED}


@pytest.mark.parametrize("found", [None, {}, {"mixtral-8x7b": COLD}], ids=["no answer", "nothing", "only others"])
async def test_a_target_of_which_nothing_is_known_is_called(bench, sure, found):
    bench.backend(SMALL, sure)
    bench.replicas()
    bench.serve.found = found
    async with bench.running():
        [job_id] = await bench.submit()
        assert (await bench.result(job_id)).target == SMALL


async def test_a_reading_that_is_too_old_is_not_believed_any_more(bench, sure):
    backend = bench.backend(SMALL, sure)
    bench.replicas(llama_8b=COLD)
    with capture_logs() as logs:
        async with bench.running():
            [job_id] = await bench.submit(1, Lane.BULK)
            await _until_waiting(bench, 1)
            bench.serve.found = None
            await bench.serve.read_again(5)
            assert backend.batches == []
            bench.broker.ahead_seconds += STALE_SECONDS + 1.0
            assert (await bench.result(job_id)).status is Status.SUCCEEDED
    assert [line["event"] for line in logs].count("replicas_not_read") == 1


async def test_a_dispatcher_knows_what_is_cold_before_its_first_call(bench):
    backend = bench.backend(SMALL, lambda call: Failure(FailureKind.TIMEOUT, "nobody is there"))
    bench.replicas(llama_8b=COLD)
    ids = await bench.submit(20)
    async with bench.running():
        await _until_waiting(bench, len(ids))
        await bench.serve.read_again(2)
    assert backend.batches == []


def test_a_start_is_dated_from_when_it_was_first_seen_until_it_is_over():
    known = Replicas({SMALL})
    dates = []
    for now, capacity in (
        (10.0, COLD),
        (12.0, Capacity(0, starting=1)),
        (14.0, Capacity(0, starting=2)),
        (16.0, Capacity(1, starting=1)),
        (18.0, WARM),
        (20.0, Capacity(1, starting=1)),
    ):
        known.note({SMALL: capacity}, now)
        dates.append(known.of(SMALL).starting_at)
    assert dates == [None, 12.0, 12.0, 12.0, None, 20.0]


def test_a_date_that_the_reading_has_is_kept():
    known = Replicas({SMALL})
    known.note({SMALL: Capacity(0, starting=1, starting_at=3.0)}, 12.0)
    assert known.of(SMALL).starting_at == 3.0


def test_only_what_becomes_cold_or_warm_is_told():
    known, told = Replicas({SMALL}), []
    known.tell(lambda: told.append(known.cold(SMALL)))
    for capacity in (WARM, Capacity(2), COLD, Capacity(0, starting=1), Capacity(1, starting=1)):
        known.note({SMALL: capacity}, 1.0)
    known.note({SMALL: COLD}, 2.0)
    known.forget_stale(2.0 + STALE_SECONDS)
    known.forget_stale(2.1 + STALE_SECONDS)
    assert told == [True, False, True, False]


def test_an_application_that_is_no_target_does_not_become_cold():
    """The dispatcher itself is an application of the cluster, and has no replica for moments."""
    known = Replicas({SMALL})
    with capture_logs() as lines:
        known.note({"dispatcher": WARM, SMALL: WARM}, 1.0)
        known.note({"dispatcher": COLD, SMALL: COLD}, 2.0)
    assert lines == [{"event": "target_cold", "log_level": "info", "target": SMALL}]
