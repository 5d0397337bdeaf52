"""Streams and consumers come out as specified, however often the specification is applied."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from fleet.model.errors import ConfigError
from queues.connection import Connection, connect
from queues.server import EmbeddedServer
from queues.topology import Change, ChangeKind, TopologySpec, apply, stream_sizes

SPEC = TopologySpec()


@pytest.fixture
async def connection(own_server: EmbeddedServer) -> AsyncIterator[Connection]:
    connection = await connect(own_server.url)
    yield connection
    await connection.close()


async def test_streams_are_created_then_left_alone_then_updated_where_they_differ(connection: Connection) -> None:
    js = connection.nats.jetstream()

    kinds = [{change.kind for change in await apply(js, SPEC)} for _ in range(2)]
    changes = await apply(js, replace(SPEC, result_max_age_seconds=3600))

    assert kinds == [{ChangeKind.CREATED}, {ChangeKind.UNCHANGED}]
    assert [change for change in changes if change.kind is not ChangeKind.UNCHANGED] == [
        Change("RESULTS", ChangeKind.UPDATED)
    ]
    assert (await js.stream_info("RESULTS")).config.max_age == 3600


async def test_what_the_specification_does_not_speak_of_is_kept(connection: Connection) -> None:
    js = connection.nats.jetstream()
    await apply(js, SPEC)
    await js.update_stream((await js.stream_info("DEAD")).config.evolve(max_bytes=1_000_000))

    await apply(js, replace(SPEC, dead_max_age_seconds=60))

    config = (await js.stream_info("DEAD")).config
    assert (config.max_bytes, config.max_age) == (1_000_000, 60)


async def test_a_change_a_stream_refuses_names_the_stream(connection: Connection) -> None:
    js = connection.nats.jetstream()
    await apply(js, SPEC)

    with pytest.raises(ConfigError, match=r"streams\.JOBS"):
        await apply(js, replace(SPEC, storage="memory"))


async def test_sizes_are_those_of_the_fleets_own_streams(connection: Connection) -> None:
    js = connection.nats.jetstream()
    assert await stream_sizes(js) == {}
    await apply(js, SPEC)
    await js.add_stream(name="OTHER", subjects=["other"])
    await js.publish("dead.acme", b"{}")

    assert await stream_sizes(js) == {"JOBS": 0, "WORK": 0, "RESULTS": 0, "LEDGER": 0, "DEAD": 1}


async def test_the_lanes_have_durable_consumers_that_never_give_up_on_a_job(connection: Connection) -> None:
    js = connection.nats.jetstream()
    await apply(js, replace(SPEC, ack_wait_seconds=7))

    configs = {info.name: info.config for info in await js.consumers_info("JOBS")}

    assert {name: config.filter_subject for name, config in configs.items()} == {
        "interactive": "jobs.interactive.*",
        "standard": "jobs.standard.*",
        "bulk": "jobs.bulk.*",
    }
    assert {(c.ack_wait, c.max_deliver, c.max_ack_pending, c.durable_name) for c in configs.values()} == {
        (7, -1, -1, name) for name in configs
    }
