"""A trace is decided on when its job has ended, by the dispatcher that stored the result, and exported once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest

from fleet.dispatch.spans import WINDOW, ExportAllowance, UsualTime
from fleet.model.attempt import Failure, FailureKind
from fleet.model.delivery import Stored
from fleet.model.job import Lane
from fleet.model.result import LedgerEntry, Outbound, Result, Status
from fleet.model.span import Sampling, Step, publisher_of, trace_id_of
from fleet.telemetry.story import spans_of
from policies.rules.sections import ShadowRules
from queues.memory import MemoryQueue
from queues.wire.ledger import decode_ledger

PUBLISHER = f"00-{'b' * 32}-{'c' * 16}-01"
UNSAMPLED = PUBLISHER[:-2] + "00"
NOTHING = Sampling(0.0, notable=False)
NOTABLE = Sampling(0.0)


def stored_lines(bench: Any) -> dict[str, list[LedgerEntry]]:
    """The lines in the ledger by job."""
    lines = defaultdict(list)
    for message in bench.broker.stored("ledger"):
        entry = decode_ledger(message.data)
        lines[entry.job_id].append(entry)
    return lines


async def test_one_trace_leads_from_the_publisher_to_the_result(bench, sure, unsure, tracer):
    bench.backend("llama-8b", unsure)
    bench.backend("mixtral-8x7b", sure)
    [job_id] = await bench.submit(traceparent=PUBLISHER)
    async with bench.running():
        await bench.result(job_id)
    job, *below = tracer.spans

    assert {span.trace_id for span in tracer.spans} == {publisher_of(PUBLISHER).trace_id}
    assert (job.step, job.parent_id) == (Step.JOB, publisher_of(PUBLISHER).span_id)
    assert {span.parent_id for span in below} == {job.span_id}
    assert [span.step for span in below].count(Step.CALL) == 2
    assert [span.step for span in below].count(Step.ESCALATE) == 1


async def test_what_was_exported_is_what_the_ledger_makes_of_it(bench, sure, unsure, tracer):
    bench.backend("llama-8b", lambda call: (unsure if int(call.id[-1]) % 2 else sure)(call))
    bench.backend("mixtral-8x7b", sure)
    ids = [job_id for lane in (Lane.INTERACTIVE, Lane.STANDARD) for job_id in await bench.submit(40, lane)]
    ids += await bench.submit(4, Lane.BULK, request={"messages": []}, traceparent=PUBLISHER)
    async with bench.running():
        for job_id in ids:
            await bench.result(job_id)

    told = [span for lines in stored_lines(bench).values() for span in spans_of(lines)]
    assert {span.span_id: span for span in tracer.spans} == {span.span_id: span for span in told}
    assert len(tracer.spans) == len(told)
    assert {lines[-1].job_id for lines in tracer.exports} == set(ids)
    assert len([span for span in told if span.step is Step.ESCALATE]) >= 40


async def test_nothing_is_exported_where_nothing_is_to_be_kept_and_the_ledger_has_it_all_the_same(bench, sure, tracer):
    tracer.sampling = NOTHING
    bench.backend("llama-8b", sure)
    ids = await bench.submit(20, Lane.STANDARD)
    async with bench.running():
        for job_id in ids:
            await bench.result(job_id)

    assert (tracer.exports, tracer.batches) == ([], [])
    lines = stored_lines(bench)
    assert all(Step.CALL in {span.step for span in spans_of(lines[job_id])} for job_id in ids)


@pytest.mark.parametrize(
    ("traceparent", "sampling", "kept"),
    [
        (PUBLISHER, NOTABLE, True),
        (UNSAMPLED, Sampling(), False),
        (UNSAMPLED, Sampling(follows_publisher=False), True),
        (None, Sampling(), True),
        (None, NOTABLE, False),
    ],
)
async def test_a_job_without_anything_notable_is_kept_for_its_publisher_or_by_a_share(
    bench, sure, tracer, traceparent, sampling, kept
):
    tracer.sampling = sampling
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit(traceparent=traceparent)
    async with bench.running():
        await bench.result(job_id)

    assert len(tracer.exports) == kept


async def test_a_job_that_fails_is_kept_though_its_publisher_does_not_keep_it(bench, tracer):
    tracer.sampling = NOTABLE

    bench.rules = replace(bench.rules, retry=replace(bench.rules.retry, max_tries=1))
    bench.backend("llama-8b", lambda call: Failure(FailureKind.SERVER_ERROR, "no"))
    [job_id] = await bench.submit(traceparent=UNSAMPLED)
    async with bench.running():
        result = await bench.result(job_id)

    assert result.status is Status.FAILED
    [job, *_] = tracer.spans
    assert (job.error, job.trace_id) == (str(result.reason), publisher_of(PUBLISHER).trace_id)


async def test_an_escalated_job_is_kept(bench, sure, unsure, tracer):
    tracer.sampling = NOTABLE
    bench.backend("llama-8b", unsure)
    bench.backend("mixtral-8x7b", sure)
    [job_id] = await bench.submit()
    async with bench.running():
        await bench.result(job_id)

    assert Step.ESCALATE in {span.step for span in tracer.spans}


@pytest.mark.parametrize("request_", [{"messages": []}, {"messages": [{"role": "user", "content": "Hi"}]}])
async def test_a_job_without_a_publishers_trace_has_one_of_its_own(bench, sure, tracer, request_):
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit(request=request_)
    async with bench.running():
        await bench.result(job_id)

    assert {span.trace_id for span in tracer.spans} == {trace_id_of(None, "acme", job_id)}
    assert [span.step for span in tracer.spans if span.parent_id is None] == [Step.JOB]


async def test_a_micro_batch_is_nobodys_parent_and_links_the_calls_in_it(bench, sure, tracer):
    backend = bench.backend("llama-8b", sure)
    ids = await bench.submit(6, Lane.STANDARD)
    async with bench.running():
        for job_id in ids:
            await bench.result(job_id)
    calls = {span.span_id: span for span in tracer.spans if span.step is Step.CALL}

    assert sorted(len(span.links) for span in tracer.batches) == sorted(
        len(each) for each in backend.batches if len(each) > 1
    )
    for span in tracer.batches:
        assert (span.parent_id, span.attributes["batch_size"]) == (None, len(span.links))
        assert {(calls[link.span_id].trace_id, calls[link.span_id].attributes["batch"]) for link in span.links} == {
            (link.trace_id, f"{span.span_id:016x}") for link in span.links
        }


async def test_a_crash_after_the_result_was_stored_leads_to_no_second_span(bench, sure, tracer):
    class DyingQueue(MemoryQueue):
        """Stores everything and then never settles the job."""

        dies = True

        async def settle(self, settlements):
            if self.dies and bench.broker.stored("results"):
                dead.set()
                await asyncio.Event().wait()
            await super().settle(settlements)

    dead = asyncio.Event()
    bench.backend("llama-8b", sure)
    ids = await bench.submit(3, Lane.STANDARD)
    first = asyncio.create_task(bench.dispatcher(DyingQueue(bench.broker)).run())
    await dead.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    bench.broker.end_leases()
    async with bench.running():
        while bench.broker.depths().jobs or bench.broker.depths().work:
            await bench.broker.changed_once()

    assert len(bench.broker.stored("results")) == len(ids)
    ended = [span.span_id for span in tracer.spans if span.step is Step.JOB]
    assert len(ended) == len(set(ended))
    assert len({span.span_id for span in tracer.spans}) == len(tracer.spans)


async def test_of_two_dispatchers_that_end_a_job_the_one_whose_result_counts_exports(bench, sure, tracer):
    class LateQueue(MemoryQueue):
        """Somebody else's result comes first."""

        def store(self, outbound: Outbound, traceparent: str | None) -> Stored:
            if isinstance(outbound, Result):
                super().store(replace(outbound, metadata={"by": "another"}), traceparent)
            return super().store(outbound, traceparent)

    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit()
    async with bench.running(LateQueue(bench.broker)):
        await bench.result(job_id)
        while bench.broker.depths().work or bench.broker.depths().jobs:
            await bench.broker.changed_once()

    assert tracer.exports == []


async def test_a_comparison_is_exported_below_the_job_it_belongs_to(bench, sure, tracer):
    bench.rules = replace(bench.rules, shadow=ShadowRules(kept=1.0))
    bench.backend("llama-8b", sure)
    bench.backend("llama-70b", sure)
    [job_id] = await bench.submit()
    async with bench.running():
        await bench.result(job_id)
        while len(bench.ledger()) < 2:
            await bench.broker.changed_once()
        while bench.broker.depths().work:
            await bench.broker.changed_once()
    lines = stored_lines(bench)[job_id]

    assert sorted(span.span_id for span in tracer.spans) == sorted(span.span_id for span in spans_of(lines))
    assert len([span for span in tracer.spans if span.step is Step.JOB]) == 1


def test_the_usual_time_is_what_all_but_one_in_a_hundred_took_in_the_window_before():
    usual = UsualTime()

    assert {usual.note(float(n)) for n in range(WINDOW - 1)} == {float("inf")}
    found = usual.note(float(WINDOW - 1))
    assert WINDOW * 0.98 < found < WINDOW
    assert usual.note(1e9) == found


def test_no_more_notable_traces_are_kept_than_are_allowed_however_many_jobs_fail():
    allowance = ExportAllowance(10.0)

    taken = [allowance.take(100.0 + n / 1000) for n in range(10_000)]

    assert 100 <= sum(taken) <= 121
