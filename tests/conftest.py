"""Fixtures every part of the suite may use."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fault_server import FaultServer


@pytest.fixture
async def fault_server() -> AsyncIterator[FaultServer]:
    """A provider on loopback that answers well, or fails as scripted."""
    async with FaultServer() as server:
        yield server
