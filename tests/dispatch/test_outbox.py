"""What leaves a dispatcher is stored once, however often the broker is asked to settle."""

from __future__ import annotations

from collections import Counter

import pytest

from fleet.dispatch import patience
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from fleet.model.result import LedgerEntry, Result, Status
from queues.memory import MemoryQueue

TARGET = "llama-8b"


class UnsettlingQueue(MemoryQueue):
    """Stores everything, and does not confirm the first settlements of what runs at a target."""

    def __init__(self, broker) -> None:
        super().__init__(broker)
        self.stored, self.failures = Counter(), 3

    def store(self, outbound, traceparent):
        self.stored[type(outbound)] += 1
        return super().store(outbound, traceparent)

    async def settle(self, settlements):
        if self.stored[Result] and self.failures:
            self.failures -= 1
            raise QueueUnavailable("away")
        await super().settle(settlements)


@pytest.mark.parametrize("lane", list(Lane))
async def test_while_only_settling_fails_nothing_is_stored_again(bench, sure, monkeypatch, lane):
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.0)
    bench.backend(TARGET, sure)
    [job_id] = await bench.submit(lane=lane)
    queue = UnsettlingQueue(bench.broker)
    async with bench.running(queue):
        assert (await bench.result(job_id)).status is Status.SUCCEEDED
        while bench.broker.depths().of_target(TARGET):
            await bench.broker.changed_once()
    assert (queue.failures, queue.stored[Result], queue.stored[LedgerEntry]) == (0, 1, 1)
