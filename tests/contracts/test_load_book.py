"""What every book of load does, whatever keeps it: the last report of each dispatcher, and nothing that is none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import pytest
from structlog.testing import capture_logs

from fleet.model.delivery import Stored, WorkOf
from fleet.model.job import Lane
from fleet.model.scaling import Capacity, ColdStart, LaneLoad, Load, ProcessName
from fleet.ports import LoadBook
from queues.jetstream.client.connection import connect
from queues.jetstream.queue import store
from queues.jetstream.stores.load import JetStreamLoads, MemoryLoads, encode_load
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply
from queues.server.embedded import EmbeddedServer
from queues.wire.letters import Message
from queues.wire.subjects import load_subject

BULK = WorkOf("llama-8b", Lane.BULK)
LOAD = Load(
    "a1",
    1_795_132_800.5,
    {BULK: LaneLoad(12.5, 310.0, 86_000.0), WorkOf("mixtral-8x7b", Lane.INTERACTIVE): LaneLoad(1.0, 80.0, -2.5)},
    tokens_done={"llama-8b": 1e9},
    tokens_running={"llama-8b": 640.5},
    tokens_missed={"llama-70b": 10.0},
    cpu_share=0.25,
    shut={"gpt-4o": 1_795_132_860.0},
    process=ProcessName("ray-head-0", 4711, 1_795_132_000.0),
    held=17,
    replicas={
        "llama-8b": Capacity(1, 1, 1_795_132_790.0),
        "llama-70b": Capacity(0, held=True, cold_start=ColdStart(93.5, 4)),
    },
    replicas_at=1_795_132_799.0,
)


@dataclass
class Rig:
    """A book with nothing in it, as two processes have it, and a way for a stranger to write to it."""

    ours: LoadBook
    theirs: LoadBook
    inject: Callable[[str, bytes], Awaitable[None]]


@pytest.fixture(params=["memory", "jetstream"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    if request.param == "memory":
        book = MemoryLoads()

        async def put(key: str, body: bytes) -> None:
            book.store(load_subject(key), body)

        yield Rig(book, book, put)
        return
    server: EmbeddedServer = request.getfixturevalue("nats_server")
    async with AsyncExitStack() as stack:
        connections = [await connect(server.url) for _ in range(2)]
        for connection in connections:
            stack.push_async_callback(connection.close)
        js = connections[0].nats.jetstream()
        await apply(js, TopologySpec())
        await js.purge_stream("KV_load")

        async def publish(key: str, body: bytes) -> None:
            assert await store(connections[0], [Message(load_subject(key), body)]) == [Stored.NEW]

        yield Rig(JetStreamLoads(connections[0]), JetStreamLoads(connections[1]), publish)


async def test_where_nobody_has_reported_there_is_nothing(rig: Rig) -> None:
    assert list(await rig.ours.read()) == []


async def test_a_report_comes_back_as_it_was_made(rig: Rig) -> None:
    await rig.ours.report(LOAD)
    assert list(await rig.theirs.read()) == [LOAD]


async def test_a_report_takes_the_place_of_the_dispatchers_last_one_and_of_no_other(rig: Rig) -> None:
    later, other = Load("a1", LOAD.at + 1, cpu_share=1.5), replace(LOAD, dispatcher="b2")
    for load in (LOAD, other, later):
        await rig.ours.report(load)
    assert sorted(await rig.theirs.read(), key=lambda load: load.dispatcher) == [later, other]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"[]",
        b'{"dispatcher": "b2"}',
        encode_load(replace(LOAD, dispatcher="b2", cpu_share=float("nan"))),
        encode_load(replace(LOAD, dispatcher="b2", tokens_done={"llama-8b": -1.0})),
        encode_load(replace(LOAD, dispatcher="b2")).replace(b'"bulk"', b'"nightly"'),
        encode_load(replace(LOAD, dispatcher="c3")),
    ],
    ids=["deleted", "no JSON", "no object", "incomplete", "NaN", "below zero", "a lane nobody knows", "another's"],
)
async def test_what_is_no_report_is_left_out_and_named_in_the_log(rig: Rig, body: bytes) -> None:
    await rig.ours.report(LOAD)
    await rig.inject("b2", body)
    with capture_logs() as lines:
        assert list(await rig.theirs.read()) == [LOAD]
    assert [(line["event"], line["subject"]) for line in lines] == [("load_report_left_out", "$KV.load.b2")]


async def test_what_a_newer_dispatcher_adds_is_no_hindrance(rig: Rig) -> None:
    await rig.inject("a1", encode_load(LOAD).replace(b'{"dispatcher"', b'{"gpu_share":0.5,"dispatcher"'))
    assert list(await rig.ours.read()) == [LOAD]
