"""`/v1/webhook_endpoints`: where a tenant wants to be told of what has happened."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from fastapi import APIRouter, Query, Request
from pydantic import Field
from typing_extensions import TypedDict

from fleet.gateway.body import checked, json_object
from fleet.gateway.caller import WhoCalls
from fleet.gateway.errors import NO_RETRY, ApiError
from fleet.gateway.openapi import json_body, leads_to
from fleet.gateway.state import Doors, TheDoors
from fleet.model.webhook import EventType, WebhookEndpoint
from fleet.webhooks.endpoints import MOST_NAME_CHARACTERS, MOST_URL_CHARACTERS, WebhookEndpoints
from queues.wire.chat import Strict
from queues.wire.record import WORDS

router = APIRouter(prefix="/v1", tags=["webhooks"])

PAGE = 20

_NEXT = leads_to(
    "webhook_endpoint_id", "retrieve_endpoint", "update_endpoint", "rotate_secret", "try_endpoint", "delete_endpoint"
)

Types = Annotated[list[Annotated[EventType, WORDS]], Field(min_length=1, max_length=len(EventType))]
EndpointName = Annotated[str, Field(min_length=1, max_length=MOST_NAME_CHARACTERS)]
Url = Annotated[str, Field(min_length=1, max_length=MOST_URL_CHARACTERS)]


class NewEndpoint(Strict):
    name: EndpointName
    url: Url
    event_types: Types


class ChangedEndpoint(Strict):
    """A field that is null is absent."""

    name: EndpointName | None = None
    url: Url | None = None
    event_types: Types | None = None


class Rotation(Strict):
    keep_old_secret_active_for_24_hours: bool | None = None


class Trial(Strict):
    event_type: Annotated[EventType, WORDS]


class EndpointObject(TypedDict):
    id: str
    object: Literal["webhook_endpoint"]
    created_at: int
    updated_at: int
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: str
    ended_at: int | None
    signing_secret: NotRequired[str]


class EndpointList(TypedDict):
    object: Literal["list"]
    data: list[EndpointObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedEndpoint(TypedDict):
    id: str
    object: Literal["webhook_endpoint.deleted"]
    deleted: Literal[True]


class TrialResult(TypedDict):
    object: Literal["webhook_endpoint.test"]
    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: Literal[True]


class EventTypes(TypedDict):
    object: Literal["list"]
    data: list[str]


@router.post("/webhook_endpoints", responses={200: _NEXT}, openapi_extra=json_body(NewEndpoint))
async def create_endpoint(request: Request, who: WhoCalls, doors: TheDoors) -> EndpointObject:
    """Make an endpoint. The answer holds the secret that its receiver verifies with; no other does."""
    webhooks = _webhooks(doors)
    body = checked(NewEndpoint, await json_object(request))
    return _shown(webhooks, await webhooks.create(who.tenant, body.name, body.url, body.event_types), with_secret=True)


@router.get("/webhook_endpoints")
async def list_endpoints(
    who: WhoCalls,
    doors: TheDoors,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = PAGE,
) -> EndpointList:
    """List the endpoints, newest first, from the one behind `after` on."""
    webhooks = _webhooks(doors)
    found = await webhooks.list(who.tenant)
    ids = [endpoint.id for endpoint in found]
    if after is not None and after not in ids:
        raise _unknown(after)
    start = 0 if after is None else ids.index(after) + 1
    page = [_shown(webhooks, endpoint) for endpoint in found[start : start + limit]]
    first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    return {
        "object": "list",
        "data": page,
        "first_id": first,
        "last_id": last,
        "has_more": len(found) > start + limit,
    }


@router.get("/webhook_event_types")
async def list_event_types(_: WhoCalls) -> EventTypes:
    """List the types of events that an endpoint may be told of."""
    return {"object": "list", "data": [str(each) for each in EventType]}


@router.get("/webhook_endpoints/{webhook_endpoint_id}", responses={200: _NEXT})
async def retrieve_endpoint(webhook_endpoint_id: str, who: WhoCalls, doors: TheDoors) -> EndpointObject:
    webhooks = _webhooks(doors)
    return _shown(webhooks, await _endpoint(webhooks, who.tenant, webhook_endpoint_id))


@router.post(
    "/webhook_endpoints/{webhook_endpoint_id}", responses={200: _NEXT}, openapi_extra=json_body(ChangedEndpoint)
)
async def update_endpoint(webhook_endpoint_id: str, request: Request, who: WhoCalls, doors: TheDoors) -> EndpointObject:
    """Change what is given, and switch an endpoint on again that had ended."""
    webhooks = _webhooks(doors)
    body = checked(ChangedEndpoint, await json_object(request))
    changed = await webhooks.update(who.tenant, webhook_endpoint_id, body.name, body.url, body.event_types)
    return _shown(webhooks, _there(changed, webhook_endpoint_id))


@router.delete(
    "/webhook_endpoints/{webhook_endpoint_id}",
    responses={200: leads_to("webhook_endpoint_id", "retrieve_endpoint", "update_endpoint")},
)
async def delete_endpoint(webhook_endpoint_id: str, who: WhoCalls, doors: TheDoors) -> DeletedEndpoint:
    """Delete an endpoint; what waits for it is not sent."""
    webhooks = _webhooks(doors)
    if not await webhooks.delete(who.tenant, webhook_endpoint_id):
        raise _unknown(webhook_endpoint_id)
    return {"id": webhook_endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True}


@router.post(
    "/webhook_endpoints/{webhook_endpoint_id}/rotate_secret",
    responses={200: _NEXT},
    openapi_extra=json_body(Rotation),
)
async def rotate_secret(webhook_endpoint_id: str, request: Request, who: WhoCalls, doors: TheDoors) -> EndpointObject:
    """Give an endpoint a new secret; the one before signs as well for a day, if asked for."""
    webhooks = _webhooks(doors)
    body = checked(Rotation, await json_object(request))
    keep_old = bool(body.keep_old_secret_active_for_24_hours)
    rotated = await webhooks.rotate(who.tenant, webhook_endpoint_id, keep_old)
    return _shown(webhooks, _there(rotated, webhook_endpoint_id), with_secret=True)


@router.post("/webhook_endpoints/{webhook_endpoint_id}/test", openapi_extra=json_body(Trial))
async def try_endpoint(webhook_endpoint_id: str, request: Request, who: WhoCalls, doors: TheDoors) -> TrialResult:
    """Send a sample of an event now, once, and return the status that came back."""
    webhooks = _webhooks(doors)
    body = checked(Trial, await json_object(request))
    endpoint = await _endpoint(webhooks, who.tenant, webhook_endpoint_id)
    reply = await webhooks.test(endpoint, body.event_type)
    if reply.status is None:
        message = f"The endpoint brought no status: {reply.problem}."
        raise ApiError(400, message, param="url", code="endpoint_unreachable", headers=NO_RETRY)
    return {
        "object": "webhook_endpoint.test",
        "webhook_endpoint_id": endpoint.id,
        "event_type": str(body.event_type),
        "status_code": reply.status,
        "success": True,
    }


def _webhooks(doors: Doors) -> WebhookEndpoints:
    if doors.webhooks is None:
        message = "Webhooks are not switched on here: the operator sets FLEET_WEBHOOK_KEY."
        raise ApiError(404, message, code="webhooks_off")
    return doors.webhooks


async def _endpoint(webhooks: WebhookEndpoints, tenant: str, endpoint_id: str) -> WebhookEndpoint:
    """Return the endpoint. Raises: ApiError, 404, if the tenant has none of this id."""
    return _there(await webhooks.get(tenant, endpoint_id), endpoint_id)


def _there(endpoint: WebhookEndpoint | None, endpoint_id: str) -> WebhookEndpoint:
    if endpoint is None:
        raise _unknown(endpoint_id)
    return endpoint


def _unknown(endpoint_id: str) -> ApiError:
    message = f"There is no webhook endpoint {endpoint_id[:64]!r}."
    return ApiError(404, message, param="webhook_endpoint_id", code="not_found")


def _shown(webhooks: WebhookEndpoints, endpoint: WebhookEndpoint, with_secret: bool = False) -> EndpointObject:
    shown: EndpointObject = {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "created_at": int(endpoint.created_at),
        "updated_at": int(endpoint.updated_at),
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": sorted(endpoint.event_types),
        "signing_secret_hint": webhooks.hint(endpoint),
        "ended_at": None if endpoint.ended_at is None else int(endpoint.ended_at),
    }
    return {**shown, "signing_secret": webhooks.secret(endpoint)} if with_secret else shown
