"""A job that can wait is sent in a provider's batch, waits without a lease or a slot, and is answered, paid once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from batch_bench import Steps
from batch_server import BAD_REQUEST, EXPIRED, BatchServer
from patience import eventually

from fleet.dispatch.dispatcher import Dispatcher
from fleet.model.attempt import FailureKind
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Result, Status
from fleet.providers import EnvironmentKeyRing, ProviderSettings, build, build_batches
from fleet.providers.batches.claims import BatchClaims
from fleet.providers.batches.sending import ProviderBatches
from policies.money import day_of, nano_of
from policies.rules.catalogue import catalogue_of
from policies.rules.discounts import DiscountRules
from queues.jetstream.stores.cells import MemoryCells
from queues.jetstream.stores.spend import accounts_of

BATCHED = "gpt-4o-batch"
USUAL_USD = (11 * 2.5 + 7 * 10.0) / 1e6
"""The price of an answer of the server's at gpt-4o."""

HOURS = 3_600.0


class Fleet:
    """Dispatchers that share a broker, and a provider with batches and plain calls."""

    def __init__(self, bench: Any, provider: BatchServer, usual: Any) -> None:
        self.bench = bench
        self.provider = provider
        self.usual = usual
        self.cells = MemoryCells()
        catalogue = bench.rules.catalogue
        target = catalogue.targets["gpt-4o"]
        batched = replace(
            target,
            name=BATCHED,
            same_as="gpt-4o",
            service_tier="batch",
            batch_size=50,
            batch_wait_seconds=0.0,
            input_usd_per_million_tokens=target.input_usd_per_million_tokens / 2,
            output_usd_per_million_tokens=target.output_usd_per_million_tokens / 2,
            cached_input_usd_per_million_tokens=target.input_usd_per_million_tokens / 2,
        )
        bench.rules = replace(
            bench.rules,
            catalogue=catalogue_of((*catalogue.targets.values(), batched), catalogue.providers),
            phases={name: replace(phase, simple=("gpt-4o",)) for name, phase in bench.rules.phases.items()},
            discounts=DiscountRules(batch=True),
        )
        keys = EnvironmentKeyRing({"OPENAI_API_KEY": "sk-invented"})
        self.settings, self.keys = ProviderSettings(base_urls=provider.base_urls), keys
        bench.backends["gpt-4o"] = build(target, ProviderSettings(base_urls=usual.base_urls), keys)
        bench.backends["gpt-4o"].gate = asyncio.Event()  # which the bench opens at the end
        provider.now = bench.broker.now

    def allow_waiting(self, jobs: int) -> None:
        """Let so many jobs wait in batches."""
        catalogue = self.bench.rules.catalogue
        batched = replace(catalogue.targets[BATCHED], max_in_flight=jobs)
        self.bench.rules = replace(
            self.bench.rules, catalogue=replace(catalogue, targets={**catalogue.targets, BATCHED: batched})
        )

    def dispatcher(self, steps: Steps | None = None) -> Dispatcher:
        """Return another dispatcher of the fleet, which may die after some steps of its batches."""
        target, cells = self.bench.rules.catalogue.targets[BATCHED], steps.of(self.cells) if steps else self.cells
        claims, now = BatchClaims(cells, BATCHED), self.bench.broker.now
        batches = build_batches(target, self.settings, self.keys, claims, now)
        if steps is not None:
            batches._api = steps.of(batches._api)
        self._count_sending(batches)
        self.bench.batches = {BATCHED: batches}
        dispatcher: Dispatcher = self.bench.dispatcher()
        return dispatcher

    def _count_sending(self, batches: ProviderBatches) -> None:
        """Know when a dispatcher sends: while it does no time passes, or it would seem to have died."""
        send, sending = batches.send, list[int]()
        self.sending = sending

        async def counted(calls: Any) -> Any:
            sending.append(1)
            try:
                return await send(calls)
            finally:
                sending.pop()

        batches.send = counted  # type: ignore[method-assign]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Dispatcher]:
        dispatcher = self.dispatcher()
        task = asyncio.create_task(dispatcher.run())
        try:
            yield dispatcher
        finally:
            await dispatcher.drain()
            await task

    async def all_answered(self, ids: Sequence[str]) -> list[Result]:
        return [await self.answered(job_id) for job_id in ids]

    async def later(self, seconds: float) -> None:
        """Let so much time pass for all who wait."""
        self.bench.broker.ahead_seconds += seconds
        self.bench.broker.wake()

    async def answered(self, job_id: str) -> Result:
        """Let time pass until the job has its result."""

        async def look() -> Result | None:
            if not self.sending:
                await self.later(31.0)
            return await self.bench.desk.result(job_id)

        return await eventually(look)

    async def until_sent(self, batches: int = 1) -> None:
        await eventually(lambda: len(self.provider.batches) >= batches)


@pytest.fixture
async def fleet(bench: Any, fault_server: Any) -> AsyncIterator[Fleet]:
    async with BatchServer() as provider:
        yield Fleet(bench, provider, fault_server)


async def submit(fleet: Fleet, count: int = 1, hours: float = 12.0) -> list[str]:
    deadline_at = fleet.bench.broker.now() + hours * HOURS
    return await fleet.bench.submit(count, lane=Lane.BULK, deadline_at=deadline_at)


async def test_jobs_that_can_wait_are_answered_in_a_batch_at_its_price(fleet: Fleet) -> None:
    async with fleet.running():
        ids = await submit(fleet, 3)
        found = [await fleet.answered(job_id) for job_id in ids]
    assert {(each.status, each.target) for each in found} == {(Status.SUCCEEDED, BATCHED)}
    assert [each.cost_usd for each in found] == pytest.approx([USUAL_USD / 2] * 3)
    assert found[0].attempts[0].reason is Reason.CHEAPER
    assert set(fleet.provider.charged.values()) == {1} and not fleet.usual.received


async def test_a_job_in_a_batch_has_no_lease_and_no_slot_and_outlives_its_dispatcher(fleet: Fleet) -> None:
    fleet.provider.polls = 10**9
    async with fleet.running() as first:
        [job_id] = await submit(fleet)
        await fleet.until_sent()
        await eventually(lambda: len(first._parts.leases) == 0)
        assert first.snapshot().targets[BATCHED].in_flight == 0
    fleet.provider.polls = 0  # it ends while nobody runs
    async with fleet.running():
        result = await fleet.answered(job_id)
    assert (result.status, result.target) == (Status.SUCCEEDED, BATCHED)
    assert len(fleet.provider.batches) == 1 and set(fleet.provider.charged.values()) == {1}


async def test_a_batch_of_a_day_gives_way_to_a_call_while_there_is_time_for_one(fleet: Fleet) -> None:
    fleet.provider.polls = 10**9
    async with fleet.running():
        [job_id] = await submit(fleet)
        await fleet.until_sent()
        assert not fleet.usual.received
        await fleet.later(12 * HOURS - 100.0)  # less than two time-outs of the usual target are left
        result = await fleet.bench.result(job_id)
    assert (result.status, result.target) == (Status.SUCCEEDED, "gpt-4o")
    assert result.cost_usd == pytest.approx(USUAL_USD)


@pytest.mark.parametrize("hours", [0.02, 0.01])
async def test_a_job_that_cannot_wait_is_never_sent_in_a_batch(fleet: Fleet, hours: float) -> None:
    async with fleet.running():
        [job_id] = await submit(fleet, hours=hours)
        result = await fleet.bench.result(job_id)
    assert result.target == "gpt-4o" and not fleet.provider.asked


@pytest.mark.parametrize(
    ("row", "kind"), [(EXPIRED, FailureKind.OVERLOADED), (BAD_REQUEST, FailureKind.INVALID_REQUEST)]
)
async def test_a_row_that_failed_is_called_at_once_at_the_usual_price(
    fleet: Fleet, row: str, kind: FailureKind
) -> None:
    fleet.provider.row = lambda custom_id: row
    async with fleet.running():
        [job_id] = await submit(fleet)
        result = await fleet.answered(job_id)
    assert [(each.target, each.cost_usd) for each in result.attempts] == [
        (BATCHED, 0.0),
        ("gpt-4o", pytest.approx(USUAL_USD)),
    ]
    assert result.attempts[0].outcome.kind is kind
    assert result.status is Status.SUCCEEDED


async def test_a_refused_batch_sends_its_jobs_on_at_once(fleet: Fleet) -> None:
    fleet.provider.fail = {"POST .*files": [429] * 9}
    async with fleet.running():
        [job_id] = await submit(fleet)
        result = await fleet.bench.result(job_id)
    assert [each.target for each in result.attempts] == [BATCHED, "gpt-4o"]


async def test_a_cancelled_job_is_not_answered_by_its_batch(fleet: Fleet) -> None:
    fleet.provider.polls = 10**9
    async with fleet.running():
        [job_id] = await submit(fleet)
        await fleet.until_sent()
        await fleet.bench.desk.cancel(job_id)
        result = await fleet.answered(job_id)
    assert result.status is Status.CANCELLED


async def test_when_enough_jobs_wait_in_batches_the_others_are_called_at_once(fleet: Fleet) -> None:
    fleet.provider.polls = 10**9
    fleet.allow_waiting(4)
    async with fleet.running():
        ids = await submit(fleet, 12)
        await eventually(lambda: len(fleet.usual.received) >= 4)  # twice as many as may wait is the room for them
        await fleet.until_sent()
    found = [await fleet.bench.desk.result(job_id) for job_id in ids]
    assert {each.target for each in found if each is not None} == {"gpt-4o"}
    assert 1 <= sum(len(batch.rows) for batch in fleet.provider.batches.values()) <= 8


async def test_the_money_set_aside_for_a_row_is_settled_when_its_answer_comes(fleet: Fleet) -> None:
    fleet.provider.polls = 3
    day = day_of(fleet.bench.broker.now())
    async with fleet.running():
        [job_id] = await submit(fleet)
        await fleet.until_sent()
        await fleet.later(31.0)
        await eventually(lambda: fleet.provider.batches["batch-0"].polled > 0)
        waiting = (await accounts_of(fleet.bench.cells, day))[None]
        await fleet.answered(job_id)
    account = (await accounts_of(fleet.bench.cells, day))[None]
    assert (waiting.spent, sum(waiting.open.values()) > 0) == (0, True)
    assert (account.spent, dict(account.open)) == (nano_of(USUAL_USD / 2), {})


@pytest.mark.parametrize("allowed", range(0, 40, 3))
async def test_a_dispatcher_that_dies_at_any_step_costs_no_row_twice_and_no_job_its_answer(
    fleet: Fleet, allowed: int
) -> None:
    fleet.provider.polls = 2
    steps = Steps(allowed)
    running = asyncio.create_task(fleet.dispatcher(steps).run())
    ids = await submit(fleet, 2)
    died = asyncio.create_task(steps.killed.wait())
    answered = asyncio.create_task(fleet.all_answered(ids))
    await asyncio.wait({died, answered}, return_when=asyncio.FIRST_COMPLETED)
    for task in (running, answered, died):
        task.cancel()
    await asyncio.gather(running, answered, died, return_exceptions=True)
    async with fleet.running():
        found = await fleet.all_answered(ids)
    assert [(each.status, each.target) for each in found] == [(Status.SUCCEEDED, BATCHED)] * 2
    assert set(fleet.provider.charged.values()) == {1} and not fleet.usual.received
