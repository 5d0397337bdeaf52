"""A promise of the semantic cache, for tests."""

from __future__ import annotations

from fleet.model.caching import AnswerScore, CacheCalibration
from fleet.model.calibration import Threshold, ThresholdMode
from queues.jetstream.stores.promises import MemoryCachePromises

TASK = "classify.sentiment"
PROMISE = CacheCalibration(
    "v1",
    "acme",
    TASK,
    "words",
    AnswerScore(0.0, {"cosine": 1.0}, ()),
    Threshold(ThresholdMode.GUARANTEE, 0.7, 0.9, 0.01, 0.1),
)


async def stored_withdrawal(store: MemoryCachePromises) -> str | None:
    return (await store.read_all())["acme", TASK].withdrawn
