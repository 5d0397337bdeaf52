"""A dispatcher on the in-process queue, with backends that do as they are told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from patience import PATIENCE_SECONDS

from fleet.dispatch.dispatcher import Dispatcher
from fleet.dispatch.runner.cost_reservations import alerts
from fleet.dispatch.semantic.lookups import SemanticCache
from fleet.dispatch.state.experiments import Trials
from fleet.dispatch.state.knowledge import Learned
from fleet.model.attempt import Answer, Features, Outcome, Usage
from fleet.model.cache_entry import CacheEntry
from fleet.model.call import Call
from fleet.model.delivery import WorkOf
from fleet.model.errors import BackendUnavailable, QueueUnavailable
from fleet.model.job import Lane
from fleet.model.result import LedgerEntry, Result
from fleet.model.router import Router, RouterKey
from fleet.model.scaling import Capacity, Load
from fleet.model.span import Sampling, Span
from fleet.model.submission import Submission
from fleet.ports import AdapterStore, BatchedCalls, Recorder
from fleet.settings.documents import load_rules
from fleet.telemetry.story import spans_of
from policies.rules.rules import Rules
from queues.jetstream.stores.cache import MemoryCache
from queues.jetstream.stores.calibrations import MemoryCalibrations
from queues.jetstream.stores.cancels import MemoryCancels
from queues.jetstream.stores.cells import MemoryCells
from queues.jetstream.stores.load import MemoryLoads
from queues.jetstream.stores.spend import CellSpendBook
from queues.memory import MemoryBroker, MemoryDesk, MemoryQueue

SURE = Features(-0.01, -0.01, -0.01, -0.01, -0.01, 1, 5.0, 0.01)
UNSURE = Features(-3.0, -1.5, -2.0, -1.9, -1.8, 2, 0.1, 1.5)


def answer(text: str, features: Features | None) -> Answer:
    return Answer({"role": "assistant", "content": text}, "stop", Usage(10, 2), "scripted", features)


Script = Callable[[Call], Outcome]


@dataclass
class ScriptedBackend:
    """Answers each call by its script, once the gate is open; remembers the batches it was given."""

    script: Script
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    batches: list[Sequence[Call]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: list[str] = field(default_factory=list)

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        self.batches.append(calls)
        self.running += len(calls)
        self.most_running = max(self.most_running, self.running)
        self.begun.set()
        await self.gate.wait()
        for index, call in enumerate(calls):
            yield [(index, self.script(call))]
            self.running -= 1

    async def stop(self, ids: Collection[str]) -> None:
        self.stopped += ids

    async def close(self) -> None:
        pass


class ScriptedCapacities:
    """What Serve says of replicas by target, or that it does not answer (None)."""

    def __init__(self) -> None:
        self.found: dict[str, Capacity] | None = {}
        self._readings = asyncio.Semaphore(0)

    async def read(self) -> Mapping[str, Capacity]:
        self._readings.release()
        if self.found is None:
            raise BackendUnavailable("Serve is away")
        return dict(self.found)

    async def read_again(self, times: int) -> None:
        """Return after so many more readings."""
        while not self._readings.locked():
            await self._readings.acquire()
        async with asyncio.timeout(PATIENCE_SECONDS):
            for _ in range(times):
                await self._readings.acquire()


class WatchedLoads(MemoryLoads):
    """Reports that can be awaited, from one dispatcher."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.away = False
        self.tried = 0
        self._changed = asyncio.Event()

    async def report(self, load: Load) -> None:
        self.tried += 1
        self._changed.set()
        if self.away:
            raise QueueUnavailable("the broker is away")
        await super().report(load)

    async def until(self, wanted: Callable[[Load], bool]) -> Load:
        """The first report that is as wanted."""
        while not (found := [load for load in await self.read() if wanted(load)]):
            await self.next_try()
        return found[0]

    async def next_try(self) -> None:
        self._changed.clear()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._changed.wait()


class WatchedCache(MemoryCache):
    """A cache whose changes can be awaited."""

    def __init__(self) -> None:
        super().__init__()
        self._told = asyncio.Event()

    def _tell(self, changes: Sequence[tuple[str, bytes]]) -> None:
        super()._tell(changes)
        self._told.set()

    async def until(self, wanted: Callable[[Sequence[CacheEntry]], bool]) -> None:
        """Return once what is kept is as wanted."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not wanted(await self.read_all()):
                self._told.clear()
                await self._told.wait()


class RecordingTracer:
    """Keeps what a collector would be sent: the lines and spans of jobs, and the spans of batches."""

    def __init__(self) -> None:
        self.sampling = Sampling()
        self.exports: list[Sequence[LedgerEntry]] = []
        self.batches: list[Span] = []

    @property
    def spans(self) -> list[Span]:
        return [span for lines in self.exports for span in spans_of(lines)]

    def export(self, lines: Sequence[LedgerEntry]) -> None:
        self.exports.append(lines)

    def export_span(self, span: Span) -> None:
        self.batches.append(span)


@dataclass
class Bench:
    """One broker, one tenant's desk, and the backends of the dispatcher under test."""

    rules: Rules
    broker: WatchedBroker
    backends: dict[str, ScriptedBackend] = field(default_factory=dict)
    tracer: RecordingTracer | None = None
    serve: ScriptedCapacities | None = None
    recorder: Recorder | None = None
    batches: dict[str, BatchedCalls] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.desk = MemoryDesk(self.broker, "acme")
        self.queue = MemoryQueue(self.broker)
        self.cells = MemoryCells()
        self.calibrations = MemoryCalibrations()
        self.routers: dict[RouterKey, Router] = {}
        self.loads = WatchedLoads(self.broker.now)
        self.cancels = MemoryCancels(self.broker)
        self.cache = WatchedCache()
        self.similar: SemanticCache | None = None
        self.trials: Trials | None = None
        self.adapters: AdapterStore | None = None

    def backend(self, target: str, script: Script, open_gate: bool = True) -> ScriptedBackend:
        backend = ScriptedBackend(script)
        if open_gate:
            backend.gate.set()
        self.backends[target] = backend
        return backend

    def replicas(self, **found: Capacity) -> None:
        """What Serve says from now on."""
        self.serve = self.serve or ScriptedCapacities()
        self.serve.found = {name.replace("_", "-"): capacity for name, capacity in found.items()}

    def dispatcher(self, queue: Any = None) -> Dispatcher:
        money = self.rules.money
        spend = CellSpendBook(self.cells, self.broker, money.open_seconds, alerts(money))
        kept = {"spend": spend, "learned": Learned(self.calibrations, routers=self.routers)}
        kept |= {"cancels": self.cancels, "loads": self.loads, "capacities": self.serve, "recorder": self.recorder}
        kept |= {"cache": self.cache, "similar": self.similar, "trials": self.trials}
        kept |= {"batches": self.batches, "adapters": self.adapters}
        return Dispatcher(queue or self.queue, self.backends, self.rules, self.broker, self.tracer, **kept)

    @asynccontextmanager
    async def running(self, queue: Any = None) -> AsyncIterator[Dispatcher]:
        dispatcher = self.dispatcher(queue)
        task = asyncio.create_task(dispatcher.run())
        try:
            yield dispatcher
        finally:
            for backend in self.backends.values():
                backend.gate.set()
            await dispatcher.drain()
            await task

    async def submit(self, count: int = 1, lane: Lane = Lane.INTERACTIVE, **changes: Any) -> list[str]:
        plain = {"task": "classify.sentiment", "request": {"messages": [{"role": "user", "content": "All is well."}]}}
        submissions = [Submission(f"job-{lane}-{n:012d}", lane=lane, **{**plain, **changes}) for n in range(count)]
        await self.desk.submit(submissions)
        return [submission.id for submission in submissions]

    async def result(self, job_id: str) -> Result:
        """The result, as soon as it is stored."""
        while (result := await self.desk.result(job_id)) is None:
            await self.broker.changed_once()
        return result

    def ledger(self) -> list[Mapping[str, Any]]:
        return [json.loads(message.data) for message in self.broker.stored("ledger")]


class WatchedBroker(MemoryBroker):
    """A broker whose next change can be awaited, and whose clock can be put forward."""

    def __init__(self) -> None:
        super().__init__(now=self.now)
        self.ahead_seconds = 0.0

    def now(self) -> float:
        return time.time() + self.ahead_seconds

    def monotonic(self) -> float:
        """No time passes for a dispatcher but what passes here."""
        return self.now()

    async def changed_once(self) -> None:
        # What changed between the last look and this wait is not heard of: look again soon.
        await self.changed(WorkOf("none", Lane.STANDARD), timeout_seconds=0.05)

    def end_leases(self) -> None:
        """Let all the time of a lease pass at once."""
        self.ahead_seconds += 31.0
        self.wake()


@pytest.fixture
def bench() -> Bench:
    return Bench(load_rules(None, None, "local"), WatchedBroker())


@pytest.fixture
def with_target(bench: Bench) -> Callable[..., None]:
    """Change one target of the catalogue."""

    def change(name: str, **changes: Any) -> None:
        catalogue = bench.rules.catalogue
        targets = {**catalogue.targets, name: replace(catalogue.targets[name], **changes)}
        bench.rules = replace(bench.rules, catalogue=replace(catalogue, targets=targets))

    return change


@pytest.fixture
def sure() -> Script:
    return lambda call: answer("positive", SURE)


@pytest.fixture
def unsure() -> Script:
    return lambda call: answer("perhaps", UNSURE)


@pytest.fixture
def tracer(bench: Bench) -> RecordingTracer:
    bench.tracer = RecordingTracer()
    return bench.tracer
