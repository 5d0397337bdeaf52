"""What a dispatcher tells those who count, and what it knows when somebody looks."""

from __future__ import annotations

import pytest
from counted_jobs import series
from patience import eventually

from fleet.dispatch import patience
from fleet.dispatch.runner.stages import assess
from fleet.dispatch.state import snapshots
from fleet.model.attempt import Failure, FailureKind
from fleet.model.calibration import Calibration, CalibrationKey, Fit, Scorer
from fleet.model.delivery import JobsOf, WorkOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from fleet.model.result import Result, Status
from fleet.model.scaling import Capacity
from fleet.model.span import Sampling, Step
from fleet.telemetry.metrics.counts import JobCounts
from fleet.telemetry.metrics.gauges import gauges
from queues.memory import MemoryQueue

SMALL, MIDDLE = "llama-8b", "mixtral-8x7b"


@pytest.fixture
def counts(bench) -> JobCounts:
    bench.recorder = JobCounts(bench.rules.catalogue.targets, [SMALL, MIDDLE])
    return bench.recorder


async def run(bench, *job_ids: str) -> None:
    """Carry the jobs, and return when the dispatcher has drained."""
    async with bench.running():
        for job_id in job_ids:
            await bench.result(job_id)


async def test_the_numbers_are_those_of_the_ledger(bench, counts, sure, unsure):
    bench.backend(SMALL, unsure)
    bench.backend(MIDDLE, sure)
    await run(bench, *await bench.submit(5), *await bench.submit(2, Lane.BULK))
    found, ledger = series(list(counts.read())), bench.ledger()
    attempts = [line["attempt"] for line in ledger if line["attempt"]]
    assert found["fleet.attempts", (SMALL, "answered")] == sum(each["target"] == SMALL for each in attempts) == 7
    assert found["fleet.attempts", (MIDDLE, "answered")] == sum(each["target"] == MIDDLE for each in attempts) == 7
    assert found["fleet.escalations", (SMALL, "low_confidence")] == 7
    assert found["fleet.jobs", ("interactive", "succeeded", "confident")] == 5
    assert found["fleet.jobs", ("bulk", "succeeded", "confident")] == 2
    assert found["fleet.job_seconds", ("interactive", MIDDLE)].count == 5
    assert found["fleet.batch_size", (SMALL,)].sum == 7
    waited = [found["fleet.queue_seconds", (MIDDLE, lane)].count for lane in Lane]
    assert waited == [5, 0, 2], "each escalation was stored for its target"
    assert sum(found["fleet.intake_seconds", (lane,)].count for lane in Lane) == 7


async def test_what_failed_counts_by_its_kind(bench, counts, sure):
    bench.backend(SMALL, lambda call: Failure(FailureKind.CONTENT_FILTER, "no"))
    bench.backend(MIDDLE, sure)
    await run(bench, *await bench.submit())
    found = series(list(counts.read()))
    assert found["fleet.attempts", (SMALL, "content_filter")] == 1
    assert found["fleet.escalations", (SMALL, "target_failed")] == 1


async def test_a_job_that_cannot_be_read_counts_and_leaves_a_dead_letter(bench, counts, sure):
    bench.backend(SMALL, sure)
    await run(bench, *await bench.submit(task="no.such.task"))
    found = series(list(counts.read()))
    assert found["fleet.jobs", ("interactive", "rejected", "invalid")] == 1
    assert found["fleet.dead_letters", ("invalid",)] == 1


async def test_a_bucket_leads_to_the_first_span_of_a_trace_that_was_exported(bench, counts, sure, tracer):
    bench.backend(SMALL, sure)
    await run(bench, *await bench.submit())
    [root] = [span for span in tracer.spans if span.step is Step.JOB]
    found = series(list(counts.read()))["fleet.job_seconds", ("interactive", SMALL)]
    [exemplar] = found.exemplars.values()
    assert (int(exemplar.trace_id, 16), int(exemplar.span_id, 16)) == (root.trace_id, root.span_id)


async def test_a_job_whose_trace_nobody_keeps_is_no_exemplar(bench, counts, sure, tracer):
    tracer.sampling = Sampling(0.0, notable=False)
    bench.backend(SMALL, sure)
    await run(bench, *await bench.submit())
    found = series(list(counts.read()))["fleet.job_seconds", ("interactive", SMALL)]
    assert (found.count, found.exemplars) == (1, {})


class UnsureQueue(MemoryQueue):
    """Stores what runs at a target, and confirms it, or its settlement, only after some tries."""

    def __init__(self, broker, unsure_about: str, failures: int) -> None:
        super().__init__(broker)
        self.unsure_about, self.failures = unsure_about, failures

    def fail(self, step: str) -> None:
        if step == self.unsure_about and self.failures:
            self.failures -= 1
            raise QueueUnavailable("the confirmation got lost")

    def store(self, outbound, traceparent):
        stored = super().store(outbound, traceparent)
        if isinstance(outbound, Result):
            self.fail("store")
        return stored

    async def settle(self, settlements):
        if isinstance(settlements[0].delivery.source, WorkOf):
            self.fail("settle")
        await super().settle(settlements)


@pytest.mark.parametrize(("unsure_about", "patience_seconds"), [("store", 60.0), ("settle", 60.0), ("settle", 0.0)])
async def test_a_job_counts_once_although_the_broker_confirms_it_late(
    bench, counts, sure, tracer, monkeypatch, unsure_about, patience_seconds
):
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(assess, "ANSWER_SECONDS", patience_seconds)
    bench.backend(SMALL, sure)
    queue = UnsureQueue(bench.broker, unsure_about, failures=1)
    [job_id] = await bench.submit(lane=Lane.BULK)
    async with bench.running(queue):
        await bench.result(job_id)
        await eventually(lambda: not queue.failures)
        bench.broker.end_leases()
        await eventually(lambda: not bench.broker.depths().of_target(SMALL))
    found = series(list(counts.read()))
    assert found["fleet.jobs", ("bulk", "succeeded", "confident")] == 1
    assert found["fleet.attempts", (SMALL, "answered")] == 1
    assert found["fleet.job_seconds", ("bulk", SMALL)].count == 1
    assert len(tracer.exports) == 1


async def test_a_bug_in_counting_costs_no_job_its_result(bench, sure):
    class Broken:
        def committed(self, steps, exported, at):
            raise RuntimeError("out of order")

        def batched(self, target, jobs):
            pass

    bench.recorder = Broken()
    bench.backend(SMALL, sure)
    [first] = await bench.submit()
    [second] = await bench.submit(lane=Lane.BULK)
    async with bench.running():
        assert (await bench.result(first)).status is Status.SUCCEEDED
        assert (await bench.result(second)).status is Status.SUCCEEDED


async def test_a_look_shows_what_waits_where_and_for_how_long(bench, counts, sure, monkeypatch):
    monkeypatch.setattr(snapshots, "AGES_SECONDS", 0.01)
    small = bench.backend(SMALL, sure, open_gate=False)
    bench.replicas(llama_8b=Capacity(2, starting=1))
    async with bench.running() as dispatcher:
        await bench.submit(3, Lane.BULK)
        await small.begun.wait()
        bench.broker.ahead_seconds += 5.0
        seen = await eventually(lambda: aged(dispatcher.snapshot()))
        found = series(list(gauges(seen, bench.rules.catalogue.targets, 25.0)))
        assert dispatcher.is_serving
    assert not dispatcher.is_serving
    assert found["fleet.work_in_flight", (SMALL,)] == 3
    assert (found["fleet.replicas", (SMALL,)], found["fleet.replicas_starting", (SMALL,)]) == (2, 1)
    waiting = found["fleet.jobs_waiting", ("bulk",)] + found["fleet.work_waiting", (SMALL, "bulk")]
    assert waiting <= 3
    oldest = max(found["fleet.jobs_oldest_seconds", ("bulk",)], found["fleet.work_oldest_seconds", (SMALL, "bulk")])
    assert oldest >= 5.0
    assert (found["fleet.spend_usd", ("fleet",)], found["fleet.spend_limit_usd", ("fleet",)]) == (0.0, 25.0)


def aged(seen):
    return seen if {JobsOf(Lane.BULK), WorkOf(SMALL, Lane.BULK)} & seen.oldest_at.keys() else None


async def test_every_gauge_is_there_before_anything_happens(bench, counts, sure):
    bench.backend(SMALL, sure)
    async with bench.running() as dispatcher:
        targets = bench.rules.catalogue.targets
        found = series(list(gauges(dispatcher.snapshot(), targets, 25.0)))
    assert all(found["fleet.jobs_waiting", (lane,)] == 0 for lane in Lane)
    assert all(found["fleet.work_oldest_seconds", (name, lane)] == 0 for name in targets for lane in Lane)
    assert found["fleet.breaker_open", (SMALL,)] == 0
    assert found["fleet.calibration_in_force", (SMALL, "*", "*", "")] == 0
    assert found["fleet.promise_withdrawn", (SMALL, "*", "*", "")] == 0


async def test_a_target_that_is_shut_shows(bench, counts, sure):
    bench.backend(SMALL, lambda call: Failure(FailureKind.CONNECTION, "gone"))
    bench.backend(MIDDLE, sure)
    job_ids = await bench.submit(8)
    async with bench.running() as dispatcher:
        for job_id in job_ids:
            await bench.result(job_id)
        assert dispatcher.snapshot().targets[SMALL].shut
        assert not dispatcher.snapshot().targets[MIDDLE].shut


def calibration(bench, key: CalibrationKey, **changes) -> Calibration:
    target = bench.rules.catalogue.targets[key.target]
    plain = {"version": "c1", "labels": 300, "fitted_at": 1.0, "scorer": Scorer(Fit.PLATT, ("min_logit",), (0.0,), 0.0)}
    return Calibration(key, target.model, target.revision, target.logprobs_mode, **{**plain, **changes})


async def test_a_withdrawn_promise_shows(bench, counts, sure):
    holds = calibration(bench, CalibrationKey(SMALL))
    drifted = calibration(bench, CalibrationKey(MIDDLE, "classify"), withdrawn="it drifted")
    await bench.calibrations.put([holds, drifted])
    bench.backend(SMALL, sure)
    async with bench.running() as dispatcher:
        seen = await eventually(lambda: (s := dispatcher.snapshot()).calibrations and s)
    found = series(list(gauges(seen, bench.rules.catalogue.targets, 25.0)))
    assert found["fleet.calibration_in_force", (SMALL, "*", "*", "")] == 1
    assert found["fleet.promise_withdrawn", (SMALL, "*", "*", "")] == 0
    assert found["fleet.promise_withdrawn", (MIDDLE, "classify", "*", "")] == 1


async def test_an_outage_of_the_broker_shows_as_its_silence(bench, counts, sure):
    class SilentQueue(MemoryQueue):
        silent = False

        async def depths(self):
            if self.silent:
                raise QueueUnavailable("away")
            return await super().depths()

    queue = SilentQueue(bench.broker)
    bench.backend(SMALL, sure)
    async with bench.running(queue) as dispatcher:
        await eventually(lambda: dispatcher.is_serving)
        queue.silent = True
        bench.broker.ahead_seconds += 90.0
        seen = dispatcher.snapshot()
        queue.silent = False
    found = series(list(gauges(seen, bench.rules.catalogue.targets, 25.0)))
    assert found["fleet.broker_silent_seconds", ()] >= 90.0
