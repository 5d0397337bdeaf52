"""The ledger's lines of a job say everything that its trace is made of."""

from __future__ import annotations

import pytest
from patience import PATIENCE_SECONDS

from fleet.model.attempt import Failure, FailureKind
from fleet.model.delivery import JobsOf, Retry
from fleet.model.job import Lane
from fleet.model.result import Status

TRACEPARENT = f"00-{'b' * 32}-{'c' * 16}-01"


async def test_a_line_says_how_the_job_was_taken_in_and_how_it_came_to_each_run(bench, sure, unsure):
    bench.backend("llama-8b", unsure)
    bench.backend("mixtral-8x7b", sure)
    [job_id] = await bench.submit(traceparent=TRACEPARENT, person="p-17")
    async with bench.running():
        result = await bench.result(job_id)
    first, second = bench.ledger()

    for line in (first, second):
        assert (line["submitted_at"], line["traceparent"], line["person"]) == (result.submitted_at, TRACEPARENT, "p-17")
        assert line["intake"]["stored_at"] == result.submitted_at <= line["intake"]["taken_at"]
        hop, attempt = line["attempt"]["hop"], line["attempt"]
        assert hop["stored_at"] <= hop["taken_at"] <= attempt["started_at"] <= attempt["ended_at"]
        assert (hop["deliveries"], hop["batch_size"], len(hop["batch"])) == (1, 1, 16)
    assert first["intake"] == second["intake"]
    assert first["attempt"]["hop"]["batch"] != second["attempt"]["hop"]["batch"]
    target = bench.rules.catalogue.targets["mixtral-8x7b"]
    assert (second["attempt"]["provider"], second["attempt"]["requested_model"]) == (target.provider, target.model)


async def test_jobs_that_ran_together_name_the_same_batch(bench, sure):
    backend = bench.backend("llama-8b", sure)
    ids = await bench.submit(5, Lane.STANDARD)
    async with bench.running():
        for job_id in ids:
            await bench.result(job_id)
    sizes = [len(calls) for calls in backend.batches]
    batches = [(line["attempt"]["hop"]["batch"], line["attempt"]["hop"]["batch_size"]) for line in bench.ledger()]
    assert sorted(batches.count(each) for each in set(batches)) == sorted(sizes)
    assert all(batches.count(each) == each[1] for each in batches)


async def test_a_job_that_came_back_tells_its_deliveries(bench, sure):
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit(lane=Lane.STANDARD)
    [taken] = await bench.queue.take(JobsOf(Lane.STANDARD, "acme"), 1, PATIENCE_SECONDS)
    await bench.queue.settle([Retry(taken)])
    async with bench.running():
        await bench.result(job_id)
    [line] = bench.ledger()
    assert (line["intake"]["deliveries"], line["attempt"]["hop"]["deliveries"]) == (2, 1)
    assert line["attempt"]["hop"]["stored_at"] > line["intake"]["stored_at"]


@pytest.mark.parametrize("request_", ["no request at all", {"messages": []}])
async def test_a_job_that_cannot_be_read_has_a_line_with_all_that_is_known_of_it(bench, sure, request_):
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit(request=request_, traceparent=TRACEPARENT)
    async with bench.running():
        await bench.result(job_id)
    [line] = bench.ledger()
    assert (line["status"], line["attempt"], line["traceparent"]) == ("rejected", None, TRACEPARENT)
    assert line["submitted_at"] == line["intake"]["stored_at"]


async def test_a_job_that_gets_an_earlier_answer_ends_on_a_line_that_names_whose_it_is(bench, unsure):
    bench.backend("llama-8b", unsure)
    bench.backend("mixtral-8x7b", lambda call: Failure(FailureKind.SERVER_ERROR, "broken"))
    [job_id] = await bench.submit(cloud="deny")
    async with bench.running():
        result = await bench.result(job_id)
    *attempts, end = bench.ledger()
    assert (result.status, result.target) == (Status.BEST_EFFORT, "llama-8b")
    assert all(line["status"] is None for line in attempts)
    assert attempts[0]["attempt"]["target"] == "llama-8b" != attempts[-1]["attempt"]["target"]
    assert (end["status"], end["attempt"], end["target"]) == ("best_effort", None, "llama-8b")
