from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from two_tenants import TwoTenants, two_tenants


@pytest.fixture
async def both() -> AsyncIterator[TwoTenants]:
    async with two_tenants() as both:
        yield both
