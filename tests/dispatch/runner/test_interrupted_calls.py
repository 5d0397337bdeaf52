"""A paid call is on record before it is made; one that was interrupted costs at most one charge more."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from fleet import faults
from fleet.dispatch import patience
from fleet.model.attempt import Answer, FailureKind, Usage
from fleet.model.delivery import Stored
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from fleet.model.result import LedgerEntry, Outbound, Start, Status
from policies.rules.sections import Residency, ResidencyRules
from queues.memory import MemoryQueue

FIRST, SECOND = "groq-gpt-oss-120b", "gpt-4o"
PINNED = {"request": {"model": FIRST, "messages": [{"role": "user", "content": "All is well."}]}}


@pytest.fixture(autouse=True)
def disarmed():
    yield
    faults.arm("")


@pytest.fixture
def good():
    return lambda call: Answer({"role": "assistant", "content": "positive"}, "stop", Usage(10, 2), "scripted")


def depth(bench):
    return bench.broker.depths().of_target(FIRST)


def starts(bench):
    return [message.subject for message in bench.broker.stored("starts")]


async def die_with_the_call_under_way(bench, good):
    """A dispatcher that ends while its call runs, and never hears of it again; its lease ends too."""
    backend = bench.backend(FIRST, good, open_gate=False)
    running = asyncio.create_task(bench.dispatcher().run())
    await backend.begun.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    bench.broker.end_leases()


async def test_a_paid_call_is_on_record_before_it_is_made(bench, good):
    seen: list[list[str]] = []

    def noting(call):
        seen.append(starts(bench))
        return good(call)

    bench.backend(FIRST, noting)
    [job_id] = await bench.submit(lane=Lane.STANDARD, **PINNED)
    async with bench.running():
        result = await bench.result(job_id)
    assert seen == [[f"starts.acme.{job_id}.1.1"]]
    assert [attempt.repeated for attempt in result.attempts] == [False]


async def test_a_call_of_the_fleets_own_models_needs_no_record(bench, sure):
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit()
    async with bench.running():
        await bench.result(job_id)
    assert starts(bench) == []


async def test_a_call_whose_dispatcher_died_is_made_once_more_and_says_so(bench, good):
    [job_id] = await bench.submit(lane=Lane.STANDARD, **PINNED)
    await die_with_the_call_under_way(bench, good)
    bench.backend(FIRST, good)
    async with bench.running():
        result = await bench.result(job_id)
    assert (result.status, [attempt.repeated for attempt in result.attempts]) == (Status.SUCCEEDED, [True])
    assert starts(bench) == [f"starts.acme.{job_id}.1.1", f"starts.acme.{job_id}.1.2"]
    assert [line["attempt"]["repeated"] for line in bench.ledger()] == [True]


async def test_it_is_never_made_a_third_time_and_the_job_goes_on(bench, good):
    bench.backend(SECOND, good)
    [job_id] = await bench.submit(lane=Lane.STANDARD)
    await die_with_the_call_under_way(bench, good)
    await die_with_the_call_under_way(bench, good)
    first = bench.backend(FIRST, good)
    async with bench.running():
        result = await bench.result(job_id)
    assert (result.status, result.target, len(first.batches)) == (Status.SUCCEEDED, SECOND, 0)
    assert result.attempts[0].outcome.kind is FailureKind.INTERRUPTED


async def test_what_comes_back_after_its_result_is_not_called_again(bench, good):
    backend = bench.backend(FIRST, good)
    faults.arm("runner.published=drop@1")
    [job_id] = await bench.submit(lane=Lane.STANDARD, **PINNED)
    async with bench.running():
        await bench.result(job_id)
        assert depth(bench) == 1
        bench.broker.end_leases()
        while depth(bench):
            await bench.broker.changed_once()
    assert len(backend.batches) == 1


async def test_a_second_call_that_was_begun_beside_the_result_is_on_the_ledger(bench, good):
    backend = bench.backend(FIRST, good)
    faults.arm("runner.published=drop@1")
    [job_id] = await bench.submit(lane=Lane.STANDARD, **PINNED)
    second = Start(job_id, "acme", 1, 2, FIRST, 1.0, "another dispatcher's")
    async with bench.running():
        await bench.result(job_id)
        await bench.queue.publish([second])
        bench.broker.end_leases()
        while depth(bench):
            await bench.broker.changed_once()
    kinds = [line["attempt"].get("failure", {}).get("kind") for line in bench.ledger()]
    assert (kinds, len(backend.batches)) == ([None, "interrupted"], 1)


class AwayQueue(MemoryQueue):
    """A broker that is away for a while when something of this kind comes."""

    def __init__(self, broker, kind, after):
        super().__init__(broker)
        self.kind, self.after, self.failures = kind, after, 3

    def store(self, outbound: Outbound, traceparent: str | None) -> Stored:
        if not self.failures or not isinstance(outbound, self.kind):
            return super().store(outbound, traceparent)
        self.failures -= 1
        if self.after:
            super().store(outbound, traceparent)
        raise QueueUnavailable("away")


@pytest.mark.parametrize("kind", [Start, LedgerEntry])
@pytest.mark.parametrize("after", [True, False], ids=["only the confirmation is lost", "nothing arrives"])
async def test_an_outage_of_the_broker_costs_no_second_call(bench, good, monkeypatch, kind, after):
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.0)
    backend = bench.backend(FIRST, good)
    [job_id] = await bench.submit(lane=Lane.STANDARD, **PINNED)
    queue = AwayQueue(bench.broker, kind, after)
    async with bench.running(queue):
        result = await bench.result(job_id)
    assert (queue.failures, len(backend.batches), result.attempts[0].repeated) == (0, 1, False)


async def test_the_record_names_who_what_and_when(bench, good):
    bench.backend(FIRST, good)
    [job_id] = await bench.submit(lane=Lane.STANDARD, **PINNED)
    async with bench.running():
        await bench.result(job_id)
    [message] = bench.broker.stored("starts")
    record = json.loads(message.data)
    assert {name: record[name] for name in ("id", "tenant", "attempt", "call", "target")} == {
        "id": job_id,
        "tenant": "acme",
        "attempt": 1,
        "call": 1,
        "target": FIRST,
    }


async def test_a_call_that_was_begun_is_not_made_again_once_the_rules_forbid_its_provider(bench, good):
    [job_id] = await bench.submit(lane=Lane.STANDARD, **PINNED)
    await die_with_the_call_under_way(bench, good)
    only_openai = ResidencyRules(Residency(providers=frozenset({"openai"})))
    bench.rules = replace(bench.rules, residency=only_openai)
    forbidden, permitted = bench.backend(FIRST, good), bench.backend(SECOND, good)
    async with bench.running():
        result = await bench.result(job_id)
    assert (result.status, result.target) == (Status.SUCCEEDED, SECOND)
    assert (len(forbidden.batches), len(permitted.batches)) == (0, 1)
