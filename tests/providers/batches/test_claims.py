"""A row belongs to the batch that claimed it first, until that batch is known never to have been made."""

from __future__ import annotations

from fleet.providers.batches.claims import BatchClaims, Stage
from queues.jetstream.stores.cells import MemoryCells


async def test_a_row_that_is_claimed_is_nobody_elses_until_its_batch_is_dropped() -> None:
    claims = BatchClaims(MemoryCells(), "gpt-mini-batch")
    first = await claims.begin("first", ["a", "b"], 1.0)
    second = await claims.begin("second", ["b", "c"], 2.0)
    assert first is not None and second is not None
    assert (first.rows, second.rows) == (("a", "b"), ("c",))
    assert await claims.begin("third", ["a", "c"], 3.0) is None
    assert await claims.drop(first)
    assert await claims.of("a") is None
    fourth = await claims.begin("fourth", ["a", "c"], 4.0)
    assert fourth is not None and fourth.rows == ("a",)


async def test_a_record_is_made_or_dropped_and_never_both() -> None:
    claims = BatchClaims(MemoryCells(), "gpt-mini-batch")
    record = await claims.begin("first", ["a"], 1.0)
    assert record is not None
    assert await claims.made(record, "batch-1") and not await claims.drop(record)
    found = await claims.of("a")
    assert found is not None and (found.stage, found.batch_id, found.rows) == (Stage.MADE, "batch-1", ("a",))
