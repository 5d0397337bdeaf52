"""The seams of webhooks: where endpoints are kept, and where events wait until they have arrived."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fleet.model.webhook import TakenEvent, WebhookDelivery, WebhookEndpoint


class EndpointStore(Protocol):
    """The endpoints of all tenants. Every method raises `QueueUnavailable` if the broker does not answer."""

    async def list(self, tenant: str) -> Sequence[WebhookEndpoint]:
        """Return the tenant's endpoints in any order; those that cannot be read are left out and logged."""

    async def get(self, tenant: str, endpoint_id: str) -> tuple[WebhookEndpoint, int] | None:
        """Return an endpoint with its revision, or None if the tenant has none of this id."""

    async def put(self, endpoint: WebhookEndpoint, revision: int) -> bool:
        """Store an endpoint; return False if `revision` is not the latest. Revision 0 stands for none."""

    async def delete(self, tenant: str, endpoint_id: str) -> bool:
        """Remove an endpoint; return False if there was none."""


class EventFeed(Protocol):
    """The outbox from the side of those who deliver. Every method raises `QueueUnavailable`."""

    async def take(self, limit: int, wait_seconds: float) -> Sequence[TakenEvent]:
        """Take up to `limit` messages as soon as there is one; return none after `wait_seconds`.

        Each is leased to the caller until it is done or the lease ends; then it is handed out again.
        """

    async def fan_out(self, event: TakenEvent, deliveries: Sequence[WebhookDelivery]) -> None:
        """Store the deliveries of an event, and only then end the event. A repetition changes nothing."""

    async def attempt_again(self, taken: TakenEvent, delivery: WebhookDelivery) -> None:
        """Put the next attempt in the place of the one in hand. A repetition changes nothing."""

    async def done(self, taken: TakenEvent) -> None:
        """End what is in hand: it is forgotten."""

    async def postpone(self, taken: TakenEvent, seconds: float) -> None:
        """Give back what is in hand, to be taken again after so many seconds, or sooner if the broker is restarted."""

    async def extend(self, taken: Sequence[TakenEvent]) -> None:
        """Renew the leases."""

    async def waiting(self, tenant: str, endpoint_id: str) -> int:
        """Count the deliveries that an endpoint has waiting or in hand."""

    async def stored(self) -> int:
        """Count everything in the outbox."""

    async def close(self) -> None: ...
