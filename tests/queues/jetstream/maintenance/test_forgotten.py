"""What a consumer has forgotten is handed out again; what it still has in hand is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from nats.js.api import ConsumerConfig
from patience import PATIENCE_SECONDS
from production_nats import ProductionNats
from queue_rigs import JetStreamRig, jetstream_rig

from fleet.model.delivery import Ack, JobsOf, Source, WorkOf
from fleet.model.job import Job, Lane, Plan
from fleet.model.reason import Reason
from fleet.model.result import Work
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.maintenance import forgotten
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply
from queues.server.embedded import EmbeddedServer
from queues.wire.subjects import consumer_of, filter_of, stream_of

JOB = b'{"id":"job-000000000001","task":"nudge","request":{"messages":[{"role":"user","content":"Hello."}]}}'
WORK = Work(Job("job-000000000001", "acme", Lane.BULK, "nudge", Plan.PAID, {}, 1.0), "llama-8b", Reason.ROUTED)


@pytest.fixture
async def rig(own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JetStreamRig]:
    monkeypatch.setattr(forgotten, "STILL_SECONDS", 0.0)
    async with AsyncExitStack() as stack:
        yield await jetstream_rig(stack, own_server.url, ack_wait_seconds=30.0)


async def forget(connection: Connection, source: Source) -> None:
    """A consumer that gives up after one delivery keeps nothing of it, as one that a crash has set back does not."""
    js, stream, name = connection.nats.jetstream(), stream_of(source), consumer_of(source)
    config = ConsumerConfig(
        name=name, durable_name=name, filter_subject=filter_of(source), ack_wait=0.2, max_deliver=1, max_ack_pending=-1
    )
    await js.add_consumer(stream, config)
    pull = await js.pull_subscribe_bind(name, stream)
    assert len(await pull.fetch(1, timeout=PATIENCE_SECONDS)) == 1
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await js.consumer_info(stream, name)).num_ack_pending:
            pass


@pytest.mark.parametrize(
    "source",
    [JobsOf(Lane.BULK, "acme"), JobsOf(Lane.INTERACTIVE, "acme"), WorkOf("llama-8b", Lane.BULK)],
    ids=consumer_of,
)
async def test_what_a_consumer_has_forgotten_comes_again_and_can_be_settled(rig: JetStreamRig, source: Source) -> None:
    if isinstance(source, WorkOf):
        await rig.queue.publish([WORK])
    else:
        await rig.inject(f"jobs.{source.lane}.acme", JOB)
    await forget(rig.connection, source)
    assert await rig.queue.take(source, 1, 0.0) == []

    await rig.queue.depths()
    [delivery] = await rig.queue.take(source, 1, PATIENCE_SECONDS)
    await rig.queue.settle([Ack(delivery)])

    assert (await rig.queue.depths()).jobs == (await rig.queue.depths()).work == {}


async def test_what_is_in_hand_stays_there(rig: JetStreamRig) -> None:
    await rig.inject("jobs.bulk.acme", JOB)
    [delivery] = await rig.queue.take(JobsOf(Lane.BULK, "acme"), 1, PATIENCE_SECONDS)

    for _ in range(3):
        await rig.queue.depths()

    await rig.queue.settle([Ack(delivery)])
    assert (await rig.queue.depths()).jobs == {}


async def test_nobody_is_asked_while_the_number_of_messages_changes(
    rig: JetStreamRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgotten, "STILL_SECONDS", PATIENCE_SECONDS)
    await rig.inject("jobs.bulk.acme", JOB)
    await forget(rig.connection, JobsOf(Lane.BULK, "acme"))

    for _ in range(3):
        await rig.queue.depths()

    assert await rig.queue.take(JobsOf(Lane.BULK, "acme"), 1, 0.0) == []


async def test_a_dispatcher_of_production_has_the_rights_it_takes(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgotten, "STILL_SECONDS", 0.0)
    with ProductionNats(tmp_path_factory.mktemp("production"), options=("--sync", "2m")) as servers:
        operator = await connect(servers.url, login=servers.login("operator"))
        await apply(operator.nats.jetstream(), TopologySpec())
        await operator.nats.request("jobs.bulk.acme", JOB)
        source = JobsOf(Lane.BULK, "acme")
        await forget(operator, source)
        dispatcher = await connect(servers.url, login=servers.login("dispatcher"))
        queue = JetStreamQueue(dispatcher)

        await queue.depths()

        assert len(await queue.take(source, 1, PATIENCE_SECONDS)) == 1
        await dispatcher.close()
        await operator.close()
