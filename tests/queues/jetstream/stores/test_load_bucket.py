"""The bucket `load`: how long it keeps what, and what happens where it is missing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fleet.model.delivery import WorkOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from fleet.model.scaling import Load
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.stores.load import JetStreamLoads, MemoryLoads
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply
from queues.server.embedded import EmbeddedServer
from queues.server.permissions import fleet_users


@pytest.fixture
async def connection(own_server: EmbeddedServer) -> AsyncIterator[Connection]:
    connection = await connect(own_server.url)
    yield connection
    await connection.close()


async def test_it_is_a_key_value_bucket_for_any_client_and_forgets_after_a_minute(connection: Connection) -> None:
    js = connection.nats.jetstream()
    await apply(js, TopologySpec())
    for at in (1.0, 2.0):
        await JetStreamLoads(connection).report(Load("a1", at))
    bucket = await js.key_value("load")
    status = await bucket.status()
    assert (status.ttl, status.history, status.values) == (60, 1, 1)
    assert b'"at":2.0' in (await bucket.get("a1")).value


async def test_without_it_reports_and_readings_fail_as_in_an_outage(connection: Connection) -> None:
    loads = JetStreamLoads(connection)
    with pytest.raises(QueueUnavailable, match="load"):
        await loads.report(Load("a1", 1.0))
    with pytest.raises(QueueUnavailable):
        await loads.read()


async def test_its_twin_forgets_after_a_minute_too() -> None:
    now = 100.0
    loads = MemoryLoads(lambda: now)
    await loads.report(Load("a1", 1.0))
    now += 59.0
    await loads.report(Load("b2", 1.0))
    assert [load.dispatcher for load in await loads.read()] == ["a1", "b2"]
    now += 1.0
    assert [load.dispatcher for load in await loads.read()] == ["b2"]


def test_dispatchers_write_it_and_who_watches_the_fleet_or_shares_out_money_reads_it() -> None:
    rights = {user.name: set(user.publish) for user in fleet_users()}
    assert {name for name, publish in rights.items() if "$KV.load.>" in publish} == {"dispatcher"}
    reading = "$JS.API.STREAM.MSG.GET.KV_load"
    assert {name for name, publish in rights.items() if reading in publish} == {"dispatcher", "sre", "console", "bulk"}


async def test_a_report_says_what_is_served_and_one_of_an_older_dispatcher_does_not() -> None:
    loads = MemoryLoads()
    said = Load("a1", 1.0, serves=frozenset({"llama-8b", "gpt-4o"}), own_key_only=frozenset({"gpt-4o"}))
    await loads.report(said)
    await loads.report(Load("a2", 1.0))
    assert list(await loads.read()) == [said, Load("a2", 1.0)]


async def test_a_report_counts_the_jobs_that_run_directly() -> None:
    loads = MemoryLoads()
    said = Load("a1", 1.0, direct={WorkOf("llama-8b", Lane.BULK): 3})
    await loads.report(said)
    assert list(await loads.read()) == [said]
