"""Ids used twice and clocks that jump: still one result per id, and it is the first."""

from __future__ import annotations

import json

import pytest

from fleet.model.job import Lane
from fleet.model.result import Status
from queues.wire.letters import Message
from queues.wire.result import decode_result

ID = "job-0123456789ab"


def raw(text: str) -> Message:
    request = {"messages": [{"role": "user", "content": text}]}
    body = json.dumps({"id": ID, "task": "classify.sentiment", "request": request}).encode()
    return Message("jobs.interactive.acme", body, {})


async def test_two_bodies_under_one_id_are_one_job_that_runs_once(bench, sure):
    backend = bench.backend("llama-8b", sure)
    for text in ("First.", "Second."):
        bench.broker.store(raw(text))
    async with bench.running():
        result = await bench.result(ID)
    assert result.status is Status.SUCCEEDED
    asked = [call.request["messages"][-1]["content"] for batch in backend.batches for call in batch]
    assert asked == ["First."]
    assert len(bench.broker.stored("results")) == 1


async def test_a_body_that_comes_after_the_result_of_its_id_does_not_replace_it(bench, sure):
    bench.backend("llama-8b", sure)
    bench.broker.store(raw("First."))
    async with bench.running():
        first = await bench.result(ID)
        bench.broker.ahead_seconds = 300.0  # no window of the broker remembers the first one now
        bench.broker.store(raw("Second."))
        [neighbour] = await bench.submit()
        await bench.result(neighbour)
    assert [decode_result(message.data).job_id for message in bench.broker.stored("results")] == [ID, neighbour]
    assert await bench.desk.result(ID) == first


@pytest.mark.parametrize(
    ("jump_seconds", "status"),
    [
        (-30 * 86_400.0, Status.SUCCEEDED),
        (-3_600.0, Status.SUCCEEDED),
        (1.0, Status.SUCCEEDED),
        (30 * 86_400.0, Status.EXPIRED),
    ],
)
async def test_a_job_stored_before_the_clock_jumped_has_one_result_all_the_same(bench, sure, jump_seconds, status):
    bench.backend("llama-8b", sure)
    [before] = await bench.submit()
    bench.broker.ahead_seconds = jump_seconds
    [after] = await bench.submit(lane=Lane.BULK)
    async with bench.running():
        assert (await bench.result(before)).status is status
        assert (await bench.result(after)).status is Status.SUCCEEDED
    assert len(bench.broker.stored("results")) == 2
