"""The exact cache in a dispatcher: the second of two equal jobs asks no model, and says whose answer it got."""

from __future__ import annotations

from dataclasses import replace

import pytest
from patience import eventually

from fleet.model.attempt import Failure, FailureKind, Usage
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane, Tier
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.submission import Submission
from policies.rules.sections import CacheMode
from queues.jetstream.stores.cache import MemoryCache
from queues.memory import MemoryDesk

TASK = "classify.sentiment"
ASKED = {"messages": [{"role": "user", "content": "All is well."}], "temperature": 0}


@pytest.fixture
def cached(bench):
    tasks = {**bench.rules.tasks, TASK: replace(bench.rules.tasks[TASK], cache=CacheMode.REPEATABLE)}
    bench.rules = replace(bench.rules, tasks=tasks)
    return bench


async def submit(bench, number: int, request=ASKED, **changes) -> str:
    plain = {"lane": Lane.INTERACTIVE, "task": TASK, "request": request}
    submission = Submission(f"job-{number:016d}", **{**plain, **changes})
    await bench.desk.submit([submission])
    return submission.id


async def test_the_second_of_two_equal_jobs_gets_the_answer_of_the_first(cached, sure):
    backend = cached.backend("llama-8b", sure)
    async with cached.running():
        first = await cached.result(await submit(cached, 1))
        second = await cached.result(await submit(cached, 2))
    assert len(backend.batches) == 1
    assert (second.status, second.reason, second.target) == (Status.SUCCEEDED, Reason.CACHED, "exact")
    assert (second.answer.text, second.cost_usd) == (first.answer.text, 0.0)
    [attempt] = second.attempts
    assert (attempt.cached.job_id, attempt.cached.target, attempt.cached.usage) == (
        first.job_id,
        "llama-8b",
        Usage(10, 2),
    )
    assert attempt.cached.answered_at == first.finished_at


async def test_equal_jobs_at_once_ask_a_model_once_and_each_has_a_result(cached, sure):
    backend = cached.backend("llama-8b", sure, open_gate=False)
    ids = [await submit(cached, number) for number in range(5)]
    async with cached.running():
        await backend.begun.wait()
        backend.gate.set()
        results = [await cached.result(job_id) for job_id in ids]
    assert [len(batch) for batch in backend.batches] == [1]
    assert sorted(result.target for result in results) == ["exact"] * 4 + ["llama-8b"]
    assert {result.answer.text for result in results} == {"positive"}


async def test_where_the_first_fails_another_asks(cached, sure):
    outcomes = iter([Failure(FailureKind.INVALID_REQUEST, "no"), *[sure(None)] * 9])
    backend = cached.backend("llama-8b", lambda call: next(outcomes), open_gate=False)
    ids = [await submit(cached, number) for number in range(3)]
    async with cached.running():
        await backend.begun.wait()
        backend.gate.set()
        results = [await cached.result(job_id) for job_id in ids]
    assert sorted(str(result.status) for result in results) == ["rejected", "succeeded", "succeeded"]
    assert [len(batch) for batch in backend.batches] == [1, 1]


async def test_where_the_first_is_cancelled_the_others_are_not(cached, sure):
    backend = cached.backend("llama-8b", sure, open_gate=False)
    ids = [await submit(cached, number) for number in range(3)]
    async with cached.running():
        await backend.begun.wait()
        [call] = backend.batches[0]
        first = call.id.partition(".")[2]
        await cached.desk.cancel(first)
        assert (await cached.result(first)).status is Status.CANCELLED
        backend.gate.set()
        others = [await cached.result(job_id) for job_id in ids if job_id != first]
    assert {result.status for result in others} == {Status.SUCCEEDED}
    assert len(backend.batches) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"request": {**ASKED, "temperature": 0.7}},
        {"request": {**ASKED, "seed": 7}},
        {"request": {"messages": [{"role": "user", "content": "All is well!"}], "temperature": 0}},
        {"task": "detect.issue"},
        {"tier": Tier.COMPLEX},
    ],
)
async def test_another_request_is_not_answered_by_it(cached, sure, change):
    for target in ("llama-8b", "llama-70b"):
        cached.backend(target, sure)
    async with cached.running():
        await cached.result(await submit(cached, 1))
        other = await cached.result(await submit(cached, 2, **change))
    assert other.target in cached.backends
    assert sum(len(batch) for each in cached.backends.values() for batch in each.batches) == 2


async def test_another_tenant_gets_an_answer_of_its_own(cached, sure):
    backend = cached.backend("llama-8b", sure)
    other = MemoryDesk(cached.broker, "globex")
    async with cached.running():
        await cached.result(await submit(cached, 1))
        await other.submit([Submission("job-0000000000000002", lane=Lane.INTERACTIVE, task=TASK, request=ASKED)])
        while (result := await other.result("job-0000000000000002")) is None:
            await cached.broker.changed_once()
    assert result.target == "llama-8b" and len(backend.batches) == 2


async def test_an_answer_that_a_user_calls_bad_is_not_given_again(cached, sure):
    backend = cached.backend("llama-8b", sure)
    async with cached.running():
        first = await submit(cached, 1)
        await cached.result(first)
        cached.cache.disown("acme", {first})
        await cached.cache.until(lambda kept: not kept)
        again = await cached.result(await submit(cached, 2))
    assert again.target == "llama-8b" and len(backend.batches) == 2


async def test_a_second_dispatcher_gives_what_the_first_has_kept(cached, sure):
    first, second = cached.backend("llama-8b", sure), None
    async with cached.running():
        await cached.result(await submit(cached, 1))
        await cached.cache.until(bool)
    second = cached.backend("llama-8b", sure)
    async with cached.running():
        found = await cached.result(await submit(cached, 2))
    assert (len(first.batches), len(second.batches), found.target) == (1, 0, "exact")


class CacheAway(MemoryCache):
    async def put(self, entries):
        raise QueueUnavailable("the bucket is gone")

    async def drop(self, keys):
        raise QueueUnavailable("the bucket is gone")


async def test_without_its_bucket_jobs_are_answered_all_the_same(cached, sure):
    cached.cache = CacheAway()
    cached.backend("llama-8b", sure)
    async with cached.running():
        results = [await cached.result(await submit(cached, number)) for number in (1, 2)]
    assert [result.status for result in results] == [Status.SUCCEEDED] * 2


async def test_answers_that_cannot_be_kept_are_waited_for_once_and_then_asked_for_together(cached, sure):
    told = replace(sure(None), message={"role": "assistant", "content": "Write to ada@example.org."})
    backend = cached.backend("llama-8b", lambda call: told, open_gate=False)
    ids = [await submit(cached, number) for number in range(5)]
    async with cached.running():
        await backend.begun.wait()
        backend.gate.set()
        results = [await cached.result(job_id) for job_id in ids]
    assert {result.target for result in results} == {"llama-8b"}
    sizes = [len(batch) for batch in backend.batches]
    assert sizes[0] == 1 and sum(sizes) == 5 and len(sizes) < 5


class AwayAtFirst(MemoryCache):
    def __init__(self):
        super().__init__()
        self.drops = 0

    async def drop(self, keys):
        self.drops += 1
        if self.drops == 1:
            raise QueueUnavailable("the broker is away")
        await super().drop(keys)


async def test_what_is_to_be_dropped_while_the_broker_is_away_is_dropped_when_it_is_back(cached, sure):
    store = cached.cache = AwayAtFirst()
    cached.backend("llama-8b", sure)
    async with cached.running():
        first = await submit(cached, 1)
        await cached.result(first)
        await eventually(store.read_all)
        store.disown("acme", {first})
        await eventually(lambda: store.drops > 1)
        assert not await store.read_all()
