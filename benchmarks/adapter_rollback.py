"""Measures how long an adapter that is rolled back goes on answering, until the last of the fleet's dispatchers knows.

Each of the dispatchers has a connection of its own to one real broker, follows the adapters, and chooses for a call of
the adapter's task as soon as it hears of a change. The time is that from the command, `fleet adapters rollback` without
the start of its process, to the first call for which the last of them chooses the version before.

    python -m benchmarks.adapter_rollback [--json] [--dispatchers 8] [--rounds 20]
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from benchmarks.kill_switch import DELIVERY, connected, figures, run
from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.state.adapters import Adapters
from fleet.dispatch.state.state import FleetState
from fleet.model.adapter import AdapterVersion, RegisteredAdapter
from fleet.model.target import ServedAdapters
from fleet.settings.documents import load_rules
from policies.adapters import steps
from policies.rules.rules import Rules
from queues.jetstream.client.connection import Connection
from queues.jetstream.stores.adapters import JetStreamAdapters

OLD, NEW = (AdapterVersion(digit * 64, "b" * 64, 16, 288_000, 0.0, evidence={"passed": True}) for digit in "12")
PATIENCE_SECONDS = 120.0

SCOPE = RegisteredAdapter("intents", "llama-8b", frozenset({"classify.intent"}))


class _Store(JetStreamAdapters):
    """Says when its dispatcher has heard of a change."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.heard = asyncio.Event()

    async def watch(self, on_change: Callable[[Mapping[str, RegisteredAdapter]], None]) -> None:
        def told(known: Mapping[str, RegisteredAdapter]) -> None:
            on_change(known)
            self.heard.set()

        await super().watch(told)


class _Dispatcher:
    """The part of a dispatcher that chooses adapters."""

    def __init__(self, connection: Connection, rules: Rules) -> None:
        self._store = _Store(connection)
        self._target = replace(rules.catalogue.targets[SCOPE.target], adapters=ServedAdapters(1))
        self._job = InFlightJob.of(DELIVERY)
        self._adapters = Adapters(self._store, FleetState([SCOPE.target], rules), lambda arm: rules)
        self.watch = self._adapters.watch

    async def until(self, digest: str) -> float:
        """Return when this version was first chosen, by the clock that never goes back."""
        while self._adapters.of_call(self._target, self._job, time.time()) != digest:
            await self._store.heard.wait()
            self._store.heard.clear()
        return time.perf_counter()


async def measure(dispatchers: int, rounds: int) -> dict[str, float]:
    rules = load_rules(None, None, "local")
    async with AsyncExitStack() as stack:
        operator, *others = await connected(stack, dispatchers + 1)
        store = JetStreamAdapters(operator)
        for version in (OLD, NEW):
            await store.change(lambda there, each=version: steps.entered(there, SCOPE, each, [], "", time.time()))  # type: ignore[misc]
        await _promoted(store, OLD)
        parts = [_Dispatcher(each, rules) for each in others]
        stop = asyncio.Event()
        watching = [asyncio.create_task(each.watch(stop)) for each in parts]
        async with asyncio.timeout(PATIENCE_SECONDS):
            seconds = [await _round(store, parts) for _ in range(rounds)]
        stop.set()
        await asyncio.gather(*watching)
    return figures(dispatchers, seconds)


async def _promoted(store: JetStreamAdapters, version: AdapterVersion) -> None:
    await store.change(lambda there: steps.promoted(there[SCOPE.name], version.digest, [], None, time.time()))


async def _round(store: JetStreamAdapters, parts: Sequence[_Dispatcher]) -> float:
    await _promoted(store, NEW)
    await asyncio.gather(*(each.until(NEW.digest) for each in parts))
    waiting = [asyncio.create_task(each.until(OLD.digest)) for each in parts]
    begun_at = time.perf_counter()
    await store.change(lambda there: steps.rolled_back(there[SCOPE.name], NEW.digest, "measured", time.time()))
    return max(await asyncio.gather(*waiting)) - begun_at


if __name__ == "__main__":
    run(measure, __doc__, None)
