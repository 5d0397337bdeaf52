"""What every store of webhook endpoints does."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from queue_rigs import MemoryRig, Rig
from structlog.testing import capture_logs

from fleet.model.webhook import EventType, WebhookEndpoint

NEW = 0


def endpoint(number: int = 1, tenant: str = "acme") -> WebhookEndpoint:
    types = frozenset({EventType.BATCH_COMPLETED, EventType.RESPONSE_FAILED})
    url = f"https://hooks.example/{number}"
    return WebhookEndpoint(f"we_{number:024x}", tenant, "nightly", url, types, f"{number:032x}", 1000.5, 1000.5)


async def store_bytes(rig: Rig, subject: str, body: bytes) -> None:
    if isinstance(rig, MemoryRig):
        rig.endpoints().store(subject, body)
    else:
        await rig.inject(subject, body)


async def test_an_endpoint_is_read_as_it_was_stored(rig: Rig) -> None:
    stored = replace(endpoint(), previous_salt="ab" * 16, previous_until=2000.25, ended_at=3000.75)
    assert await rig.endpoints().put(stored, NEW)

    found = await rig.endpoints().get("acme", stored.id)

    assert found is not None
    assert found[0] == stored


async def test_a_tenant_has_its_own_endpoints_and_no_others(rig: Rig) -> None:
    for each in (endpoint(1), endpoint(2), endpoint(3, "acme2"), endpoint(4, "beta")):
        assert await rig.endpoints().put(each, NEW)

    listed = await rig.endpoints().list("acme")

    assert sorted(each.id for each in listed) == [endpoint(1).id, endpoint(2).id]
    assert await rig.endpoints().get("acme", endpoint(4).id) is None
    assert await rig.endpoints().list("nobody") == []


async def test_a_change_needs_the_latest_revision(rig: Rig) -> None:
    assert await rig.endpoints().put(endpoint(), NEW)
    found = await rig.endpoints().get("acme", endpoint().id)
    assert found is not None

    first = await rig.endpoints().put(replace(endpoint(), name="first"), found[1])
    second = await rig.endpoints().put(replace(endpoint(), name="second"), found[1])
    made_again = await rig.endpoints().put(replace(endpoint(), name="third"), NEW)

    assert (first, second, made_again) == (True, False, False)
    assert [each.name for each in await rig.endpoints().list("acme")] == ["first"]


async def test_of_two_changes_at_once_one_is_refused(rig: Rig) -> None:
    made = await asyncio.gather(*(rig.endpoints().put(endpoint(), NEW) for _ in range(2)))
    assert sorted(made) == [False, True]


async def test_a_deleted_endpoint_is_gone_and_another_tenants_cannot_be_deleted(rig: Rig) -> None:
    assert await rig.endpoints().put(endpoint(), NEW)

    assert not await rig.endpoints().delete("beta", endpoint().id)
    assert await rig.endpoints().delete("acme", endpoint().id)
    assert not await rig.endpoints().delete("acme", endpoint().id)

    assert await rig.endpoints().list("acme") == []
    assert await rig.endpoints().put(endpoint(), NEW), "nothing of it is left"


@pytest.mark.parametrize(
    "body", [b"{}", b"no endpoint", b'{"id":"we_00000000000000000000000f"}'], ids=["empty", "no JSON", "incomplete"]
)
async def test_what_is_no_endpoint_is_left_out_and_named_in_the_log(rig: Rig, body: bytes) -> None:
    assert await rig.endpoints().put(endpoint(), NEW)
    await store_bytes(rig, "$KV.webhooks.acme.we_00000000000000000000000f", body)

    with capture_logs() as lines:
        listed = await rig.endpoints().list("acme")

    assert listed == [endpoint()]
    assert [line["event"] for line in lines] == ["webhook_endpoint_left_out"]


async def test_an_endpoint_under_the_name_of_another_tenant_is_left_out(rig: Rig) -> None:
    from queues.wire.webhooks.endpoints import encode_endpoint

    await store_bytes(rig, f"$KV.webhooks.acme.{endpoint().id}", encode_endpoint(endpoint(1, "beta")))
    assert await rig.endpoints().list("acme") == []
