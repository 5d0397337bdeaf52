"""A client of a fleet in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from memory_fleet import MemoryFleet

from fleet.bulk.inbox import Inbox
from fleet.client import FleetClient

SOON = 0.01


@pytest.fixture
async def fleet() -> AsyncIterator[MemoryFleet]:
    async with MemoryFleet().running() as fleet:
        yield fleet


@pytest.fixture
async def client(fleet: MemoryFleet) -> AsyncIterator[FleetClient]:
    desk = fleet.desk("acme")
    async with Inbox(desk, SOON) as inbox:
        yield FleetClient(desk, inbox)
