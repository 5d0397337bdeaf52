"""What every store of the semantic cache's promises does."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest
from patience import PATIENCE_SECONDS
from queue_rigs import Rig

from fleet.model.caching import AnswerScore, CacheCalibration
from fleet.model.calibration import Looks, Threshold, ThresholdMode
from fleet.model.errors import ConfigError

LIMIT = Threshold(ThresholdMode.GUARANTEE, 1.5, math.inf, 0.01, 0.1)
PROMISE = CacheCalibration(
    "v1", "acme", "classify.intent", "e", AnswerScore(-2.0, {"cosine": 9.5}, ("guard",)), LIMIT, looks=Looks(2, 300)
)


async def test_what_is_promised_is_read_as_it_was_put_beside_the_calibrations(rig: Rig) -> None:
    withdrawn = replace(PROMISE, tenant="globex", withdrawn="drift", grey=(0.5, 1.5))
    await rig.cache_promises().put([PROMISE, withdrawn])
    found = await rig.cache_promises().read_all()
    assert found == {("acme", "classify.intent"): PROMISE, ("globex", "classify.intent"): withdrawn}
    assert await rig.calibrations().read_all() == {}


async def test_a_change_is_told(rig: Rig) -> None:
    seen: asyncio.Queue[list[str]] = asyncio.Queue()
    store = rig.cache_promises()
    task = asyncio.create_task(
        store.watch(lambda found: seen.put_nowait(sorted(each.version for each in found.values())))
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await seen.get() == []
            await rig.cache_promises().put([PROMISE])
            while await seen.get() != ["v1"]:
                pass
            await rig.cache_promises().put([replace(PROMISE, version="v2")])
            while await seen.get() != ["v2"]:
                pass
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_promise_that_could_not_be_applied_is_refused(rig: Rig) -> None:
    with pytest.raises(ConfigError, match=r"score\.weights"):
        await rig.cache_promises().put([replace(PROMISE, score=AnswerScore(0.0, {"mood": 1.0}, ()))])
    assert await rig.cache_promises().read_all() == {}
