"""One provider's batches, and processes that send calls in them and share the records."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from batch_server import BatchServer

from fleet.model.attempt import Failure, Outcome
from fleet.model.call import Call
from fleet.model.money import Deposit
from fleet.model.target import Target
from fleet.providers import EnvironmentKeyRing, ProviderSettings, build_batches
from fleet.providers.batches.claims import BatchClaims, SharedCells
from fleet.providers.batches.sending import ProviderBatches
from queues.jetstream.stores.cells import MemoryCells

STARTED_AT = 1_795_175_686.0
ROUNDS = 40
LOOK_AGAIN_SECONDS = 30.0


@dataclass
class Bench:
    """One provider, its target, and the records that all processes share.

    Time passes when somebody looks again, but not while one of those `sending` would seem to have died, unless it is
    `standing_still`.
    """

    server: BatchServer
    target: Target
    keys: dict[str, str]
    cells: MemoryCells = field(default_factory=MemoryCells)
    now: float = STARTED_AT
    nobody_waits: asyncio.Event = field(default_factory=asyncio.Event)
    sending: set[ProviderBatches] = field(default_factory=set)
    standing_still: ProviderBatches | None = None

    def __post_init__(self) -> None:
        self.server.now = lambda: self.now

    def batches(self, cells: SharedCells | None = None) -> ProviderBatches:
        async def until_nobody_waits(seconds: float) -> None:
            await self.nobody_waits.wait()

        settings, keys = ProviderSettings(base_urls=self.server.base_urls), EnvironmentKeyRing(self.keys)
        claims = BatchClaims(cells or self.cells, self.target.name)
        return build_batches(self.target, settings, keys, claims, lambda: self.now, until_nobody_waits)

    async def outcomes(self, calls: Sequence[Call], ours: ProviderBatches | None = None) -> list[Outcome | None]:
        """Look for the calls, send those that are in no batch, and look again until each has its outcome."""
        batches = ours or self.batches()
        found: dict[int, Outcome] = {}
        rounds = 0
        while len(found) < len(calls) and rounds < ROUNDS:
            left = [index for index in range(len(calls)) if index not in found]
            looked = await batches.look([calls[index] for index in left])
            absent = [index for index, each in zip(left, looked, strict=True) if each is None]
            found |= {i: each.outcome for i, each in zip(left, looked, strict=True) if each and each.outcome}
            sent = await self._sent(batches, [(calls[index], None) for index in absent]) if absent else ()
            found |= {i: each for i, each in zip(absent, sent, strict=True) if isinstance(each, Failure)}
            if self.sending <= {self.standing_still}:
                self.now += LOOK_AGAIN_SECONDS
                rounds += 1
            await asyncio.sleep(0)
        await batches.close()
        return [found.get(index) for index in range(len(calls))]

    async def _sent(
        self, batches: ProviderBatches, calls: Sequence[tuple[Call, Deposit | None]]
    ) -> Sequence[Failure | bool]:
        self.sending.add(batches)
        try:
            return await batches.send(calls)
        finally:
            self.sending.discard(batches)


def call(number: int, tenant: str = "acme", **request: Any) -> Call:
    messages = [{"role": "user", "content": f"question {number}"}]
    return Call({"messages": messages, **request}, 3_600.0, id=f"{tenant}.job-{number}")


class Steps:
    """Lets `allowed` half-steps happen and then none: each is the beginning or the end of a read, write or request."""

    def __init__(self, allowed: int) -> None:
        self._left = allowed
        self.killed = asyncio.Event()

    def of(self, part: Any) -> Any:
        steps = self

        class Stepped:
            def __getattr__(self, name: str) -> Any:
                inner = getattr(part, name)

                async def step(*given: Any) -> Any:
                    await steps.take()
                    found = await inner(*given)
                    await steps.take()
                    return found

                return step

        return Stepped()

    async def take(self) -> None:
        if self._left == 0:
            self.killed.set()
            await asyncio.get_running_loop().create_future()  # a dead process does nothing any more
        self._left -= 1
