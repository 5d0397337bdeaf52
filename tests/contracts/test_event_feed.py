"""What every outbox of events does: each event is told to all, once begun never forgotten, and nothing comes twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from patience import PATIENCE_SECONDS, eventually
from queue_rigs import MemoryRig, Rig
from structlog.testing import capture_logs

from fleet.model.webhook import (
    Announced,
    EventType,
    ExpectedResponse,
    TakenEvent,
    WebhookDelivery,
    WebhookEvent,
)
from fleet.webhooks.ports import EventFeed
from queues.wire.letters import Message

EVENT = WebhookEvent("acme", EventType.BATCH_COMPLETED, "batch_1", 1000.5)
EXPECTED = ExpectedResponse("acme", "job-000000000001", 1000.5)
ENDPOINTS = [f"we_{number:024x}" for number in (1, 2)]


def deliveries(event: WebhookEvent = EVENT) -> list[WebhookDelivery]:
    return [WebhookDelivery(event, endpoint, 1, 1000.5) for endpoint in ENDPOINTS]


async def taken(feed: EventFeed) -> TakenEvent:
    """The next message."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (found := await feed.take(1, 1.0)):
            pass
    return found[0]


async def nothing_is_left(rig: Rig) -> bool:
    return await rig.events().stored() == 0


async def inject(rig: Rig, subject: str, body: bytes) -> None:
    if isinstance(rig, MemoryRig):
        rig.events().store(Message(subject, body))
    else:
        await rig.inject(subject, body)


@pytest.mark.parametrize("announced", [EVENT, EXPECTED], ids=["an event", "an expected response"])
async def test_what_is_announced_is_taken_as_it_was(rig: Rig, announced: Announced) -> None:
    await rig.outbox().announce([announced])
    assert (await taken(rig.events())).body == announced


async def test_what_is_announced_again_is_taken_once(rig: Rig) -> None:
    await rig.outbox().announce([EVENT, EXPECTED])
    await rig.outbox().announce([replace(EVENT, at=2000.0), EXPECTED])
    assert await rig.events().stored() == 2


async def test_the_same_object_of_another_tenant_is_another_event(rig: Rig) -> None:
    await rig.outbox().announce([EVENT, replace(EVENT, tenant="beta")])
    feed = rig.events()
    assert {(await taken(feed)).body.tenant for _ in range(2)} == {"acme", "beta"}


async def test_an_event_becomes_its_deliveries(rig: Rig) -> None:
    await rig.outbox().announce([EVENT])
    feed = rig.events()

    await feed.fan_out(await taken(feed), deliveries())

    assert await feed.stored() == 2
    found = [(await taken(feed)).body for _ in range(2)]
    assert sorted(found, key=lambda delivery: delivery.endpoint_id) == deliveries()


async def test_an_event_without_endpoints_is_forgotten(rig: Rig) -> None:
    await rig.outbox().announce([EVENT])
    feed = rig.events()
    await feed.fan_out(await taken(feed), [])
    assert await nothing_is_left(rig)


async def test_a_fan_out_that_is_repeated_stores_nothing_twice(rig: Rig) -> None:
    await rig.outbox().announce([EVENT])
    feed = rig.events()
    event = await taken(feed)
    for _ in range(2):
        await feed.fan_out(event, deliveries())
    assert await feed.stored() == 2


async def test_the_next_attempt_takes_the_place_of_the_one_in_hand(rig: Rig) -> None:
    await rig.outbox().announce([EVENT])
    feed = rig.events()
    await feed.fan_out(await taken(feed), deliveries()[:1])
    first = await taken(feed)
    again = WebhookDelivery(EVENT, ENDPOINTS[0], 2, 1005.75)

    for _ in range(2):  # a crash between storing and acknowledging repeats it
        await feed.attempt_again(first, again)

    assert await feed.stored() == 1
    second = await taken(feed)
    assert second.body == again
    await feed.attempt_again(first, replace(again, due_at=9999.0))
    await feed.done(second)
    assert await nothing_is_left(rig), "an attempt that was left behind brings nothing back"


async def test_what_is_postponed_comes_again(rig: Rig) -> None:
    await rig.outbox().announce([EVENT])
    feed = rig.events()
    await feed.postpone(await taken(feed), 0.01)
    await feed.done(await taken(feed))
    assert await nothing_is_left(rig)


async def test_what_waits_does_not_hold_up_what_comes_after_it(rig: Rig) -> None:
    await rig.outbox().announce([EVENT])
    feed = rig.events()
    await feed.postpone(await taken(feed), 10 * PATIENCE_SECONDS)
    await rig.outbox().announce([EXPECTED])
    assert (await taken(feed)).body == EXPECTED


async def test_what_was_taken_by_one_that_died_comes_to_another(open_rig) -> None:
    rig = await open_rig(ack_wait_seconds=0.2)
    await rig.outbox().announce([EVENT])
    assert (await taken(rig.events())).body == EVENT

    again = await eventually(lambda: rig.events().take(1, 1.0))

    assert [each.body for each in again] == [EVENT]


async def test_what_waits_for_an_endpoint_is_counted(rig: Rig) -> None:
    other = replace(EVENT, object_id="batch_2")
    await rig.outbox().announce([EVENT, other])
    feed = rig.events()
    for _ in range(2):
        event = await taken(feed)
        await feed.fan_out(event, deliveries(event.body)[: 2 if event.body == EVENT else 1])

    counts = [await feed.waiting("acme", endpoint) for endpoint in ENDPOINTS]

    assert counts == [2, 1]
    assert await feed.waiting("beta", ENDPOINTS[0]) == 0


@pytest.mark.parametrize(
    ("subject", "body"),
    [
        ("events.acme", b""),
        ("events.acme", b"no event"),
        ("events.acme", b'{"schema":1,"type":"batch.exploded","object_id":"batch_1","at":1}'),
        ("events.acme", b'{"schema":1,"job_id":"short","at":1}'),
        (f"events.acme.{ENDPOINTS[0]}.evt_1", b'{"schema":1,"type":"batch.failed","object_id":"b","at":1}'),
        ("events.acme.no-endpoint.evt_1", b"{}"),
    ],
)
async def test_what_is_no_event_is_forgotten_and_named_in_the_log(rig: Rig, subject: str, body: bytes) -> None:
    await inject(rig, subject, body)
    await rig.outbox().announce([EVENT])
    feed = rig.events()

    with capture_logs() as lines:
        found = await taken(feed)
        await feed.done(found)

    assert found.body == EVENT
    assert [line["subject"] for line in lines if line["event"] == "webhook_event_skipped"] == [subject]
    assert await nothing_is_left(rig)
