"""`/v1/webhook_endpoints` as OpenAI's SDK calls it, and the events of responses in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI
from patience import eventually
from two_tenants import two_tenants
from webhook_receiver import Received, Receiver, receiving, status

from fleet.gateway.responses.shapes import status_of
from fleet.model.api_key import Scope
from fleet.model.attempt import Answer, Usage
from fleet.model.reason import Reason
from fleet.model.result import Result, Status
from fleet.model.webhook import EventType, ExpectedResponse
from fleet.webhooks.responses import type_of

TYPES: Any = ["batch.completed", "response.failed"]
UNKNOWN = f"we_{0:024x}"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


async def made(openai: AsyncOpenAI, url: str) -> Any:
    return await openai.webhooks.create(name="nightly", url=url, event_types=TYPES)


async def test_an_endpoint_is_made_shown_listed_changed_and_deleted(bench, receiver: Receiver) -> None:
    webhooks = bench.openai.webhooks
    first, second = await made(bench.openai, receiver.url), await made(bench.openai, receiver.url)

    assert (first.object, first.name, first.url, first.event_types) == (
        "webhook_endpoint",
        "nightly",
        receiver.url,
        TYPES,
    )
    assert first.signing_secret.startswith("whsec_") and first.signing_secret != second.signing_secret
    assert [each.id async for each in webhooks.list(limit=1)] == [second.id, first.id]
    shown = await webhooks.retrieve(first.id)
    assert first.signing_secret not in shown.to_json() and shown.signing_secret_hint == first.signing_secret_hint

    changed = await webhooks.update(first.id, name="daily")
    assert (changed.name, changed.url) == ("daily", receiver.url)
    deleted = await webhooks.delete(first.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (first.id, True, "webhook_endpoint.deleted")
    with pytest.raises(NotFoundError):
        await webhooks.retrieve(first.id)


async def test_a_test_sends_one_signed_sample_and_says_what_came_back(bench, receiver: Receiver) -> None:
    endpoint = await made(bench.openai, receiver.url)
    receiver.answering = status(418)

    tried = await bench.openai.webhooks.test(endpoint.id, event_type="response.completed")

    assert (tried.status_code, tried.event_type, tried.webhook_endpoint_id) == (418, "response.completed", endpoint.id)
    [request] = receiver.received
    verifier = OpenAI(api_key="none", webhook_secret=endpoint.signing_secret).webhooks
    assert verifier.unwrap(request.body, request.headers).type == "response.completed"


async def test_a_test_that_reaches_nobody_says_so_and_is_not_repeated(bench, receiver: Receiver) -> None:
    async def hang_up(_: Received, writer: asyncio.StreamWriter) -> None:
        """Say nothing."""

    receiver.answering = hang_up
    endpoint = await made(bench.openai, receiver.url)
    with pytest.raises(BadRequestError, match="connection_failed"):
        await bench.openai.webhooks.test(endpoint.id, event_type="batch.failed")
    assert len(receiver.received) == 1


@pytest.mark.parametrize("keep", [True, False])
async def test_after_a_rotation_the_old_secret_verifies_only_if_it_was_kept(bench, receiver: Receiver, keep) -> None:
    old = await made(bench.openai, receiver.url)
    new = await bench.openai.webhooks.rotate_secret(old.id, keep_old_secret_active_for_24_hours=keep)
    await bench.openai.webhooks.test(old.id, event_type="batch.failed")
    [request] = receiver.received
    assert len(request.headers["webhook-signature"].split()) == (2 if keep else 1)
    OpenAI(api_key="none", webhook_secret=new.signing_secret).webhooks.verify_signature(request.body, request.headers)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "http://8.8.8.8/"),
        ("url", "https://10.0.0.1/"),
        ("url", "no url"),
        ("url", None),
        ("name", ""),
        ("event_types", []),
        ("event_types", ["video.completed"]),
        ("secret", "whsec_mine"),
    ],
)
async def test_what_cannot_be_an_endpoint_is_refused_by_name_of_the_field(
    bench, receiver: Receiver, field, value
) -> None:
    body = {"name": "nightly", "url": receiver.url, "event_types": TYPES, field: value}
    reply = await bench.http.post("/v1/webhook_endpoints", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"].split(".")[0] == field


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/{UNKNOWN}"),
        ("POST", f"/{UNKNOWN}"),
        ("DELETE", f"/{UNKNOWN}"),
        ("POST", f"/{UNKNOWN}/rotate_secret"),
        ("POST", f"/{UNKNOWN}/test"),
        ("GET", "/*"),
        ("DELETE", "/%3E"),
        ("GET", f"?after={UNKNOWN}"),
    ],
)
async def test_an_endpoint_that_is_not_there_is_404(bench, method: str, path: str) -> None:
    body = {"event_type": "batch.failed"} if path.endswith("test") else {}
    reply = await bench.http.request(method, f"/v1/webhook_endpoints{path}", json=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


async def test_the_types_of_events_are_listed(bench) -> None:
    assert (await bench.openai.webhooks.event_types.list()).data == [str(each) for each in EventType]


async def test_where_webhooks_are_off_it_says_how_to_switch_them_on(bench, receiver: Receiver) -> None:
    bench.doors.webhooks = None
    with pytest.raises(NotFoundError, match="FLEET_WEBHOOK_KEY"):
        await made(bench.openai, receiver.url)
    await bench.openai.responses.create(input="Hello", model="auto", background=True)
    assert await bench.tenants.outbox.stored() == 0


async def test_a_response_in_the_background_is_expected_before_its_job_is_submitted(bench) -> None:
    response = await bench.openai.responses.create(input="Hello", model="auto", background=True)
    await bench.openai.responses.create(input="Hello", model="auto")

    [taken] = await eventually(lambda: bench.tenants.outbox.take(10, 1.0))

    assert isinstance(taken.body, ExpectedResponse)
    assert (taken.body.tenant, f"resp_{taken.body.job_id}") == ("acme", response.id)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("finish_reason", [None, "stop", "length", "content_filter", "tool_calls"])
def test_an_event_says_of_a_response_what_retrieving_it_says(status: Status, finish_reason: str | None) -> None:
    message = {"role": "assistant", "content": "yes"}
    answer = None if finish_reason is None else Answer(message, finish_reason, Usage(1, 1), "m")
    result = Result("job-000000000001", "acme", status, Reason.ALL_FAILED, 1.0, answer=answer)
    assert type_of(result) == f"response.{status_of(result)}"


async def test_another_tenants_endpoint_is_not_there(receiver: Receiver) -> None:
    async with two_tenants() as both:
        endpoint = await made(both.acme.openai, receiver.url)
        theirs = both.beta.openai.webhooks
        for call in (
            lambda: theirs.retrieve(endpoint.id),
            lambda: theirs.update(endpoint.id, name="mine"),
            lambda: theirs.rotate_secret(endpoint.id),
            lambda: theirs.test(endpoint.id, event_type="batch.failed"),
            lambda: theirs.delete(endpoint.id),
        ):
            with pytest.raises(NotFoundError):
                await call()
        assert [each async for each in theirs.list()] == []
        assert (await both.acme.openai.webhooks.retrieve(endpoint.id)).name == "nightly"
    assert receiver.received == []


async def test_a_key_that_is_not_for_webhooks_opens_none_of_it() -> None:
    async with two_tenants() as both:
        key = await both.new_key(7, "acme", frozenset(Scope) - {Scope.WEBHOOKS})
        reply = await both.acme.http.get("/v1/webhook_endpoints", headers={"authorization": f"Bearer {key}"})
    assert reply.status_code == 403
