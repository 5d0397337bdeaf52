"""What a backend raises that is no `Exception`: it ends one call, and neither a job without a result nor a slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from fleet.dispatch.runner.cost_reservations import CostReservations
from fleet.model.attempt import Outcome
from fleet.model.call import Call
from fleet.model.job import Lane
from fleet.model.result import Status
from queues.memory import MemoryQueue

TARGET = "llama-8b"


class Odd(BaseException):
    pass


ODD = [
    asyncio.CancelledError(),
    GeneratorExit(),
    SystemExit(3),
    Odd(),
    ExceptionGroup("two", [ValueError(), KeyError()]),
    BaseExceptionGroup("two", [asyncio.CancelledError(), ValueError()]),
]


class Raising:
    """Answers the first call, and raises then in place of the others; later it answers all."""

    def __init__(self, error: BaseException, answer: Outcome) -> None:
        self.error = error
        self.answer = answer
        self.raised = 0
        self.gate = asyncio.Event()

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        yield [(0, self.answer)]
        if self.raised < 1:
            self.raised += 1
            raise self.error
        yield [(index, self.answer) for index in range(1, len(calls))]

    async def stop(self, ids) -> None:
        raise self.error

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("lane", [Lane.INTERACTIVE, Lane.BULK])
async def test_whatever_a_backend_raises_every_job_ends_and_every_slot_comes_free(
    bench, sure, with_target, error, lane
):
    with_target(TARGET, max_in_flight=4, batch_size=4)
    bench.backends[TARGET] = Raising(error, sure(None))
    ids = await bench.submit(12, lane)
    async with asyncio.timeout(120), bench.running() as dispatcher:
        results = [await bench.result(job_id) for job_id in ids]
        while dispatcher._parts.state.traffic.in_flight(TARGET) or len(dispatcher._parts.leases):
            await bench.broker.changed_once()
    assert {each.status for each in results} <= {Status.SUCCEEDED, Status.FAILED}


@pytest.mark.parametrize("error", [asyncio.CancelledError(), Odd()], ids=lambda error: type(error).__name__)
async def test_what_the_money_book_raises_keeps_no_slot(bench, sure, with_target, monkeypatch, error):
    with_target(TARGET, max_in_flight=2, batch_size=2)
    bench.backend(TARGET, sure)
    failing, pay = [error, error], CostReservations.reserve

    async def pay_later(self, cases, target):
        if failing:
            raise failing.pop()
        return await pay(self, cases, target)

    monkeypatch.setattr(CostReservations, "reserve", pay_later)
    ids = await bench.submit(6, Lane.STANDARD)
    async with asyncio.timeout(120), bench.running():
        assert {(await bench.result(job_id)).status for job_id in ids} == {Status.SUCCEEDED}


async def test_a_step_that_is_cancelled_by_its_queue_comes_again(bench, sure):
    class Cancelling(MemoryQueue):
        left = 2

        async def settle(self, settlements):
            if self.left:
                self.left -= 1
                bench.broker.end_leases()
                raise asyncio.CancelledError
            await super().settle(settlements)

    bench.backend(TARGET, sure)
    ids = await bench.submit(2, Lane.STANDARD, deadline_at=bench.broker.now() + 86_400)
    async with asyncio.timeout(120), bench.running(Cancelling(bench.broker)):
        assert {(await bench.result(job_id)).status for job_id in ids} == {Status.SUCCEEDED}
