"""Many tenants on one stream: their consumers come and go, and no job is lost or handed out twice by that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from queue_rigs import JetStreamRig, jetstream_rig

from fleet.model.delivery import Ack, JobsOf, Retry
from fleet.model.job import Lane
from fleet.model.submission import Submission
from queues.jetstream.consuming import inlets
from queues.server.embedded import EmbeddedServer
from queues.wire.letters import submission_message

REQUEST = {"messages": [{"role": "user", "content": "All is well."}]}
TENANTS = [f"t{number:03d}" for number in range(40)]


async def _submit(rig, tenants, count=1):
    for tenant in tenants:
        for number in range(count):
            message = submission_message(Submission(f"job-{number:012d}", "chat", REQUEST, lane=Lane.BULK), tenant)
            await rig.inject(message.subject, message.data, message.headers)


async def _consumers(rig):
    info = await rig.connection.nats.jetstream().stream_info("JOBS")
    return info.state.consumer_count


def _of(tenant):
    return JobsOf(Lane.BULK, tenant)


@pytest.fixture
async def rig(own_server: EmbeddedServer) -> AsyncIterator[JetStreamRig]:
    async with AsyncExitStack() as stack:
        yield await jetstream_rig(stack, own_server.url, ack_wait_seconds=30.0)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(inlets, "MOST_OF_TENANTS", 8)
    monkeypatch.setattr(inlets, "CLEARED_AT_ONCE", 4)


async def test_every_tenant_is_served_and_there_are_never_many_consumers(rig, few):
    await _submit(rig, TENANTS)
    most = 0
    for tenant in TENANTS:
        [delivery] = await rig.queue.take(_of(tenant), 5, 0.0)
        assert delivery.body.tenant == tenant
        await rig.queue.settle([Ack(delivery)])
        most = max(most, await _consumers(rig))
    assert most <= 8
    assert not (await rig.queue.depths()).jobs


async def test_what_is_in_hand_keeps_its_consumer(rig, few):
    await _submit(rig, TENANTS)
    deliveries = [delivery for tenant in TENANTS for delivery in await rig.queue.take(_of(tenant), 1, 0.0)]
    assert len(deliveries) == len(TENANTS)
    await rig.queue.settle([Ack(delivery) for delivery in deliveries])
    assert not (await rig.queue.depths()).jobs


async def test_what_another_dispatcher_has_in_hand_keeps_its_consumer(rig, few):
    await _submit(rig, TENANTS)
    [theirs] = await rig.rival.take(_of(TENANTS[0]), 1, 0.0)
    for tenant in TENANTS:
        await rig.queue.settle([Ack(each) for each in await rig.queue.take(_of(tenant), 5, 0.0)])
    await rig.rival.settle([Ack(theirs)])
    assert not (await rig.queue.depths()).jobs


@pytest.mark.parametrize(("delay", "most"), [(0.0, 8), (3600.0, 0)])
async def test_what_was_handed_back_needs_no_consumer_and_is_handed_out_again(rig, few, delay, most):
    await _submit(rig, TENANTS, 2)
    for tenant in TENANTS:
        await rig.queue.settle([Retry(each, delay) for each in await rig.queue.take(_of(tenant), 2, 0.0)])
    assert await _consumers(rig) <= most
    again = await rig.queue.take(_of(TENANTS[0]), 5, 0.0)
    assert [delivery.body.id for delivery in again] == ["job-000000000000", "job-000000000001"]


async def test_where_the_server_takes_no_more_consumers_idle_ones_go_at_once(rig: JetStreamRig):
    js = rig.connection.nats.jetstream()
    config = (await js.stream_info("JOBS")).config
    await js.update_stream(config.evolve(max_consumers=5))
    await _submit(rig, TENANTS)
    for tenant in TENANTS:
        await rig.queue.settle([Ack(each) for each in await rig.queue.take(_of(tenant), 5, 0.0)])
    assert not (await rig.queue.depths()).jobs


@pytest.mark.parametrize("at_once", [1, 2])
async def test_jobs_behind_delayed_ones_are_handed_out_and_then_the_consumer_goes(rig, at_once):
    await _submit(rig, TENANTS[:1], 4)
    found = []
    for _ in range(4 // at_once):
        taken = await rig.queue.take(_of(TENANTS[0]), at_once, 0.0)
        found += [delivery.body.id for delivery in taken]
        await rig.queue.settle([Retry(delivery, 3600.0) for delivery in taken])
    assert found == [f"job-{number:012d}" for number in range(4)]
    assert await _consumers(rig) == 0


async def test_a_tenant_with_many_delayed_jobs_keeps_its_consumer(rig, monkeypatch):
    monkeypatch.setattr(inlets, "MOST_HANDED_OUT_AGAIN", 3)
    await _submit(rig, TENANTS[:1], 4)
    await rig.queue.settle([Retry(each, 3600.0) for each in await rig.queue.take(_of(TENANTS[0]), 9, 0.0)])
    assert await rig.queue.take(_of(TENANTS[0]), 9, 0.0) == []
    assert await _consumers(rig) == 1
