"""The loops that take jobs and work go on whatever a take or a decision raises, but for their own end."""

from __future__ import annotations

import asyncio

import pytest
from patience import PATIENCE_SECONDS

from fleet.dispatch import decide as deciding
from fleet.model.job import Lane
from fleet.model.result import Status
from queues.memory import MemoryQueue

TARGET = "llama-8b"


class Odd(BaseException):
    pass


ODD = [asyncio.CancelledError, GeneratorExit, lambda: SystemExit(3), Odd, lambda: ValueError("a bug")]


class Raising(MemoryQueue):
    """The first take from each source ends so, and the first wait for arrivals."""

    def __init__(self, broker, error) -> None:
        super().__init__(broker)
        self.error = error
        self.raised = set()

    async def take(self, source, limit, wait_seconds):
        if source not in self.raised:
            self.raised.add(source)
            raise self.error()
        return await super().take(source, limit, wait_seconds)

    async def arrivals(self):
        if "arrivals" not in self.raised:
            self.raised.add("arrivals")
            raise self.error()
        async for source in super().arrivals():
            yield source


@pytest.mark.parametrize("lane", list(Lane))
@pytest.mark.parametrize("error", ODD)
async def test_a_take_that_raises_stops_neither_intake_nor_collectors(bench, sure, lane, error):
    bench.backend(TARGET, sure)
    ids = await bench.submit(4, lane)
    async with asyncio.timeout(PATIENCE_SECONDS), bench.running(Raising(bench.broker, error)):
        assert {(await bench.result(each)).status for each in ids} == {Status.SUCCEEDED}


@pytest.mark.parametrize("error", ODD)
async def test_a_decision_that_raises_ends_its_job_alone(bench, sure, monkeypatch, error):
    decide, bad = deciding.next_action, []

    def raising(job, *rest):
        if not bad:
            bad.append(job.id)
        if job.id in bad:
            raise error()
        return decide(job, *rest)

    monkeypatch.setattr(deciding, "next_action", raising)
    bench.backend(TARGET, sure)
    ids = await bench.submit(4, Lane.STANDARD)
    async with asyncio.timeout(PATIENCE_SECONDS), bench.running():
        ends = {each: (await bench.result(each)).status for each in ids}
    assert {each for each, status in ends.items() if status is Status.FAILED} == set(bad)
    assert set(ends.values()) == {Status.FAILED, Status.SUCCEEDED}
