"""What a tenant does with its endpoints: make, change, list, delete and test them, and rotate their secrets."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from fleet.model.errors import InvalidWebhook, QueueUnavailable
from fleet.model.webhook import ENDPOINT_ID, EventType, WebhookEndpoint, WebhookEvent
from fleet.webhooks.addresses import HTTPS_PORT, Permitted
from fleet.webhooks.ports import EndpointStore
from fleet.webhooks.posting import FORBIDDEN, Poster
from fleet.webhooks.sending import WebhookSender
from fleet.webhooks.signing import Signer
from policies.webhooks import WebhookReply

MOST_ENDPOINTS = 10
"""Maximum endpoints of a tenant."""

MOST_URL_CHARACTERS = 2048
MOST_NAME_CHARACTERS = 128

KEEP_OLD_SECONDS = 24 * 3600.0
"""Seconds for which the secret before a rotation signs as well, where that is asked for."""

TRIES = 8
"""Times that a change is made again because another one came first."""

NEW = 0

Change = Callable[[WebhookEndpoint], WebhookEndpoint]


class WebhookEndpoints:
    """The endpoints of all tenants, for whoever speaks for one. Every method raises `QueueUnavailable`."""

    def __init__(self, store: EndpointStore, signer: Signer, poster: Poster, now: Callable[[], float]) -> None:
        self._store = store
        self._signer = signer
        self._poster = poster
        self._sender = WebhookSender(signer, poster, now)
        self._now = now

    def secret(self, endpoint: WebhookEndpoint) -> str:
        """Return the secret that its receiver verifies with."""
        return self._signer.secret(endpoint, endpoint.salt)

    def hint(self, endpoint: WebhookEndpoint) -> str:
        return self._signer.hint(endpoint)

    async def create(self, tenant: str, name: str, url: str, types: Collection[EventType]) -> WebhookEndpoint:
        """Make an endpoint. Raises: InvalidWebhook."""
        if len(await self._store.list(tenant)) >= MOST_ENDPOINTS:
            raise InvalidWebhook("url", f"is one too many: a tenant has at most {MOST_ENDPOINTS} endpoints")
        now = self._now()
        made = WebhookEndpoint(f"we_{secrets.token_hex(12)}", tenant, name, url, frozenset(types), _salt(), now, now)
        await self._check(made)
        if not await self._store.put(made, NEW):
            raise QueueUnavailable("the new endpoint has the id of another")
        return made

    async def list(self, tenant: str) -> Sequence[WebhookEndpoint]:
        """Return the tenant's endpoints, newest first."""
        found = await self._store.list(tenant)
        return sorted(found, key=lambda endpoint: (endpoint.created_at, endpoint.id), reverse=True)

    async def get(self, tenant: str, endpoint_id: str) -> WebhookEndpoint | None:
        found = await self._stored(tenant, endpoint_id)
        return None if found is None else found[0]

    async def update(
        self,
        tenant: str,
        endpoint_id: str,
        name: str | None = None,
        url: str | None = None,
        types: Collection[EventType] | None = None,
    ) -> WebhookEndpoint | None:
        """Change what is given; an endpoint that had ended is sent events again. None: there is none of this id.

        Raises: InvalidWebhook.
        """

        def changed(endpoint: WebhookEndpoint) -> WebhookEndpoint:
            return replace(
                endpoint,
                name=endpoint.name if name is None else name,
                url=endpoint.url if url is None else url,
                event_types=endpoint.event_types if types is None else frozenset(types),
                ended_at=None,
            )

        return await self._change(tenant, endpoint_id, changed)

    async def rotate(self, tenant: str, endpoint_id: str, keep_old: bool) -> WebhookEndpoint | None:
        """Give an endpoint a new secret. With `keep_old` the one before signs too, for a day."""

        def rotated(endpoint: WebhookEndpoint) -> WebhookEndpoint:
            old = (endpoint.salt, self._now() + KEEP_OLD_SECONDS) if keep_old else (None, 0.0)
            return replace(endpoint, salt=_salt(), previous_salt=old[0], previous_until=old[1])

        return await self._change(tenant, endpoint_id, rotated)

    async def delete(self, tenant: str, endpoint_id: str) -> bool:
        """Delete an endpoint; return False if there was none."""
        return ENDPOINT_ID.fullmatch(endpoint_id) is not None and await self._store.delete(tenant, endpoint_id)

    async def test(self, endpoint: WebhookEndpoint, type: EventType) -> WebhookReply:
        """Send a sample of an event once, about an object that does not exist, and return what that brought."""
        kind = "batch_" if type.startswith("batch.") else "resp_"
        return await self._sender.send(
            WebhookEvent(endpoint.tenant, type, f"{kind}{secrets.token_hex(12)}", self._now()), endpoint
        )

    async def _stored(self, tenant: str, endpoint_id: str) -> tuple[WebhookEndpoint, int] | None:
        """Return an endpoint with its revision; none has an id of another form, which could be a pattern."""
        return await self._store.get(tenant, endpoint_id) if ENDPOINT_ID.fullmatch(endpoint_id) else None

    async def _change(self, tenant: str, endpoint_id: str, change: Change) -> WebhookEndpoint | None:
        for _ in range(TRIES):
            found = await self._stored(tenant, endpoint_id)
            if found is None:
                return None
            changed = change(found[0])
            if changed == found[0]:
                return changed
            if changed.url != found[0].url:
                await self._check(changed)
            changed = replace(changed, updated_at=self._now())
            if await self._store.put(changed, found[1]):
                return changed
        raise QueueUnavailable("the endpoint is being changed by others: try again")

    async def _check(self, endpoint: WebhookEndpoint) -> None:
        check_url(endpoint.url, self._poster.permitted)
        if await self._poster.problem_of(endpoint.url) == FORBIDDEN:
            raise InvalidWebhook("url", "leads to an address that webhooks are not sent to")


def check_url(url: str, permitted: Permitted) -> None:
    """Check that a webhook could be sent to a URL; the address that it leads to is judged apart.

    Raises: InvalidWebhook.
    """
    if len(url) > MOST_URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidWebhook("url", f"must be at most {MOST_URL_CHARACTERS} printable characters of ASCII")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidWebhook("url", "must be a URL") from None
    if parts.scheme not in (("https", "http") if permitted.has_networks else ("https",)) or not host:
        raise InvalidWebhook("url", "must be https://host/path")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidWebhook("url", "must have no user, password or fragment: nobody would see them")
    if not permitted.has_networks and port not in (None, HTTPS_PORT):
        raise InvalidWebhook("url", f"must have port {HTTPS_PORT}")


def _salt() -> str:
    return secrets.token_hex(16)
