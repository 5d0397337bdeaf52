"""Opens the adapters of the fleet for a command."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fleet.cli.connection import opened, settings_for

if TYPE_CHECKING:
    from fleet.ports import AdapterStore, ExperimentStore


@asynccontextmanager
async def adapters_at(nats_url: str | None) -> AsyncIterator[AdapterStore]:
    """Open the adapters. Raises: QueueUnavailable if no broker answers."""
    from fleet.app import open_adapters

    async with opened(settings_for(nats_url), open_adapters) as store:
        yield store


@asynccontextmanager
async def with_experiments(nats_url: str | None) -> AsyncIterator[tuple[AdapterStore, ExperimentStore]]:
    """Open the adapters, and the experiments that may try them. Raises: QueueUnavailable if no broker answers."""
    from fleet.app import open_experiments

    async with adapters_at(nats_url) as store, opened(settings_for(nats_url), open_experiments) as experiments:
        yield store, experiments
