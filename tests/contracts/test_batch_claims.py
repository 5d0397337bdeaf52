"""A row belongs to the batch that claimed it first, until that batch is known never to have been made."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from fleet.model.money import Deposit, Quote, Reservation
from fleet.providers.batches.claims import BatchClaims, Stage
from queues.jetstream.client.connection import connect
from queues.jetstream.stores.cells import JetStreamCells, MemoryCells
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply
from queues.wire.subjects import PROVIDER_BATCHES, provider_batches_subject

DEPOSIT = Deposit(Reservation("acme", 1_500, 1.5), Quote(1_500, 64, 1_100))


@pytest.fixture(params=["memory", "jetstream"])
async def claims(request: pytest.FixtureRequest) -> AsyncIterator[BatchClaims]:
    target = f"gpt-mini-{secrets.token_hex(4)}"
    if request.param == "memory":
        yield BatchClaims(MemoryCells(), target)
        return
    connection = await connect(request.getfixturevalue("nats_server").url)
    await apply(connection.nats.jetstream(), TopologySpec())
    yield BatchClaims(JetStreamCells(connection, PROVIDER_BATCHES, provider_batches_subject), target)
    await connection.close()


async def test_a_row_that_is_claimed_is_nobody_elses_until_its_batch_is_dropped(claims: BatchClaims) -> None:
    first = await claims.begin("first", dict.fromkeys("ab"), 1.0)
    second = await claims.begin("second", dict.fromkeys("bc"), 2.0)
    assert first is not None and second is not None
    assert (first.rows, second.rows) == (("a", "b"), ("c",))
    assert await claims.begin("third", dict.fromkeys("ac"), 3.0) is None
    assert await claims.drop(first)
    assert await claims.of(["a"]) == {}
    fourth = await claims.begin("fourth", dict.fromkeys("ac"), 4.0)
    assert fourth is not None and fourth.rows == ("a",)


async def test_a_record_is_made_or_dropped_and_never_both(claims: BatchClaims) -> None:
    record = await claims.begin("first", {"a": None}, 1.0)
    assert record is not None
    assert await claims.made(record, "batch-1") and not await claims.drop(record)
    found = (await claims.of(["a"]))["a"].record
    assert (found.stage, found.batch_id, found.rows) == (Stage.MADE, "batch-1", ("a",))


async def test_the_money_of_a_row_is_given_to_one_who_asks(claims: BatchClaims) -> None:
    assert await claims.begin("first", {"a": DEPOSIT, "b": None}, 1.0) is not None
    found = await claims.of(["a", "b"])
    assert (found["a"].deposit, found["b"].deposit) == (DEPOSIT, None)
    assert [await claims.take_deposit(found["a"]) for _ in range(2)] == [DEPOSIT, None]
    assert (await claims.of(["a"]))["a"].deposit is None
