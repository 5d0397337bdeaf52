"""A provider's batches over real HTTP and real SDKs, and backends that share the records of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from batch_server import BatchServer

from fleet.model.attempt import Outcome
from fleet.model.call import Call
from fleet.model.target import Target
from fleet.providers import EnvironmentKeyRing, ProviderSettings, build_batches
from fleet.providers.batches.backend import BatchBackend
from fleet.providers.batches.claims import BatchClaims, SharedCells
from queues.jetstream.stores.cells import MemoryCells

STARTED_AT = 1_795_175_686.0


@dataclass
class Bench:
    """One provider, its target, and the records that all backends share. A pause takes no time but on its clock."""

    server: BatchServer
    target: Target
    keys: dict[str, str]
    cells: MemoryCells = field(default_factory=MemoryCells)
    now: float = STARTED_AT

    def __post_init__(self) -> None:
        self.server.now = lambda: self.now

    async def pause(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    def backend(self, cells: SharedCells | None = None) -> BatchBackend:
        settings = ProviderSettings(base_urls=self.server.base_urls)
        claims = BatchClaims(cells or self.cells, self.target.name)
        return build_batches(self.target, settings, EnvironmentKeyRing(self.keys), claims, lambda: self.now, self.pause)

    async def outcomes(self, calls: Sequence[Call], backend: BatchBackend | None = None) -> list[Outcome]:
        ours = backend or self.backend()
        found: dict[int, Outcome] = {}
        try:
            async with aclosing(ours.run(calls)) as groups:
                async for group in groups:
                    found |= dict(group)
        finally:
            await ours.close()
        return [found[index] for index in range(len(calls))]


def call(number: int, tenant: str = "acme", timeout_seconds: float = 60.0, **request: Any) -> Call:
    messages = [{"role": "user", "content": f"question {number}"}]
    return Call({"messages": messages, **request}, timeout_seconds, id=f"{tenant}.job-{number}")
