"""What a dispatcher holds of the semantic cache's promises: who may withdraw one, and that all others learn of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from cache_promise import PROMISE, TASK, stored_withdrawal
from patience import eventually

from fleet.dispatch.semantic.promises import Promises
from fleet.model.caching import DisownedHit
from fleet.model.calibration import Looks
from fleet.model.errors import QueueUnavailable
from queues.jetstream.stores.promises import MemoryCachePromises


@pytest.mark.parametrize(
    ("told", "served_at"),
    [pytest.param([1] * 50, 101.0, id="one hit, over and over"), pytest.param(range(50), 99.0, id="older hits")],
)
async def test_a_hit_called_bad_counts_once_and_against_its_own_promise(bench, told, served_at):
    promises = Promises(None, bench.rules)
    promises._take({("acme", TASK): replace(PROMISE, looks=Looks(1, 300, at=100.0))})
    for number in told:
        promises.disowned("acme", DisownedHit(f"job-{number}", TASK, served_at))
    assert promises.in_force["acme", TASK].withdrawn is None


async def test_a_withdrawal_is_stored_once_the_broker_is_back(bench, monkeypatch):
    monkeypatch.setattr("fleet.dispatch.patience.PAUSE_SECONDS", 0.01)
    store = AwayAtFirst()
    await MemoryCachePromises.put(store, [PROMISE])
    promises, stop = Promises(store, bench.rules), asyncio.Event()
    watching = asyncio.create_task(promises.watch(stop))
    await eventually(lambda: promises.in_force)
    for number in range(8):
        promises.disowned("acme", DisownedHit(f"job-{number}", TASK, served_at=1.0))
    await eventually(lambda: stored_withdrawal(store))
    stop.set()
    await watching
    assert store.refusals == 0


class AwayAtFirst(MemoryCachePromises):
    """Refuses the first few promises."""

    refusals = 3

    async def put(self, promises):
        if self.refusals:
            self.refusals -= 1
            raise QueueUnavailable("away")
        await super().put(promises)
