"""Makes one attempt to tell an endpoint of an event, in OpenAI's shape and signed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pydantic_core import to_json

from fleet.model.webhook import WebhookEndpoint, WebhookEvent
from fleet.webhooks.signing import Signer, signed_headers
from policies.webhooks import WebhookReply


class Posts(Protocol):
    """Whatever can make one request."""

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> WebhookReply: ...


class WebhookSender:
    """Signs events and posts them. `now` gives unix seconds."""

    def __init__(self, signer: Signer, poster: Posts, now: Callable[[], float]) -> None:
        self._signer = signer
        self._poster = poster
        self._now = now

    async def send(self, event: WebhookEvent, endpoint: WebhookEndpoint) -> WebhookReply:
        body, now = body_of(event), self._now()
        headers = signed_headers(event.id, body, self._signer.secrets(endpoint, now), now)
        return await self._poster.post(endpoint.url, headers, body)


def body_of(event: WebhookEvent) -> bytes:
    """Return the event as OpenAI sends it. It names the object, and says nothing of what is in it."""
    shape = {"id": event.id, "object": "event", "created_at": int(event.at), "type": str(event.type)}
    return to_json({**shape, "data": {"id": event.object_id}})
