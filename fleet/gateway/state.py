"""What the doors of a gateway share."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Annotated, Protocol

from fastapi import Depends, Request

from fleet.bulk.inbox import Inbox
from fleet.client import FleetClient
from fleet.gateway.caller import Keys
from fleet.model.delivery import Depths
from fleet.ports import JobDesk, ResponseStore
from policies.rules.rules import Rules


class Broker(Protocol):
    """The broker as the gateway uses it: for every tenant, over one connection."""

    def desk(self, tenant: str) -> JobDesk: ...

    def responses(self, tenant: str) -> ResponseStore: ...

    async def depths(self) -> Depths:
        """Count what waits. Raises: QueueUnavailable."""


class Doors:
    """The broker, the rules and the keys. `keys` None: whoever comes is `development_tenant`."""

    def __init__(
        self,
        broker: Broker,
        rules: Rules,
        keys: Keys | None,
        development_tenant: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.broker = broker
        self.rules = rules
        self.keys = keys
        self.development_tenant = development_tenant
        self.now = now
        self._inboxes: dict[str, Inbox] = {}
        self._open = AsyncExitStack()

    def desk(self, tenant: str) -> JobDesk:
        return self.broker.desk(tenant)

    def responses(self, tenant: str) -> ResponseStore:
        return self.broker.responses(tenant)

    def inbox(self, tenant: str) -> Inbox:
        """Return the tenant's inbox, open from its first use until the gateway ends."""
        inbox = self._inboxes.get(tenant)
        if inbox is None:
            inbox = self._inboxes[tenant] = Inbox(self.desk(tenant))
            inbox.open()
            self._open.push_async_exit(inbox)
        return inbox

    def client(self, tenant: str) -> FleetClient:
        return FleetClient(self.desk(tenant), self.inbox(tenant))

    async def close(self) -> None:
        """Close every inbox."""
        await self._open.aclose()


def doors_of(request: Request) -> Doors:
    doors: Doors = request.app.state.doors
    return doors


TheDoors = Annotated[Doors, Depends(doors_of)]
