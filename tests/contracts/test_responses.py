"""What every store of responses' records does, whatever keeps it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from fleet.model.errors import InvalidJob
from fleet.ports import ResponseStore
from queues.jetstream.client.connection import connect
from queues.jetstream.stores.responses import JetStreamResponses, MemoryResponses
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply
from queues.memory import MemoryBroker
from queues.server.embedded import EmbeddedServer

JOB, OTHER = "job-000000000001", "job-000000000002"

StoreOf = Callable[[str], ResponseStore]


@pytest.fixture(params=["memory", "jetstream"])
async def store_of(request: pytest.FixtureRequest) -> AsyncIterator[StoreOf]:
    """Opens, at each call, another holder of a tenant's records."""
    if request.param == "memory":
        broker = MemoryBroker()
        yield lambda tenant: MemoryResponses(broker, tenant)
        return
    server: EmbeddedServer = request.getfixturevalue("nats_server")
    async with AsyncExitStack() as stack:
        connection = await connect(server.url)
        stack.push_async_callback(connection.close)
        js = connection.nats.jetstream()
        await apply(js, TopologySpec())
        await js.purge_stream("KV_responses")
        yield lambda tenant: JetStreamResponses(connection, tenant)


async def test_a_record_is_read_back_by_whoever_holds_the_store_and_no_other_is_there(store_of: StoreOf) -> None:
    await store_of("acme").put(JOB, b'{"a":1}')
    assert await store_of("acme").get(JOB) == b'{"a":1}'
    assert await store_of("acme").get(OTHER) is None


async def test_a_record_is_its_tenants_alone(store_of: StoreOf) -> None:
    await store_of("acme").put(JOB, b"ours")
    assert await store_of("beta").get(JOB) is None
    await store_of("beta").delete(JOB)
    assert await store_of("acme").get(JOB) == b"ours"


async def test_a_record_replaces_the_one_before_and_can_be_deleted_twice(store_of: StoreOf) -> None:
    records = store_of("acme")
    await records.put(JOB, b"first")
    await records.put(JOB, b"second")
    assert await records.get(JOB) == b"second"
    for _ in range(2):
        await records.delete(JOB)
        assert await records.get(JOB) is None


@pytest.mark.parametrize("job_id", ["", "*", "a.b", "job-00000000000>", "x" * 65])
async def test_what_cannot_be_an_id_names_no_subject(store_of: StoreOf, job_id: str) -> None:
    records = store_of("acme")
    for asked in (records.get(job_id), records.put(job_id, b"x"), records.delete(job_id)):
        with pytest.raises(InvalidJob):
            await asked
