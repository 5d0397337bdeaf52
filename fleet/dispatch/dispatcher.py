"""The dispatcher: intake for every lane and a runner for every target it can reach."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterator, Mapping
from types import MappingProxyType

from fleet.dispatch.patience import first_of
from fleet.dispatch.semantic.lookups import SemanticCache
from fleet.dispatch.state.experiments import Trials
from fleet.dispatch.state.knowledge import Learned
from fleet.dispatch.timekeeping import BrokerTime
from fleet.dispatch.wiring import Parts, Shared
from fleet.logs import get_logger
from fleet.model.snapshot import FleetSnapshot
from fleet.ports import (
    AdapterStore,
    Backend,
    BatchedCalls,
    CacheStore,
    Cancels,
    Capacities,
    Clock,
    JobQueue,
    LoadBook,
    Recorder,
    SpendBook,
    Tracer,
)
from policies.rules.rules import Rules

log = get_logger(__name__)

LOAD_SECONDS = 5.0
"""Interval between warnings that the state needed before anything is served has not been read yet."""


class Dispatcher:
    """Runs until drained. `backends` holds the targets that are configured; the others count as unavailable.

    `own_key_only` names those among them that serve only tenants with a key of their own; `spend` is the book that
    all dispatchers of the fleet share, and `cancels` holds the cancelled jobs. `loads` receives reports of the load
    and of the targets served; its default is the book kept beside the queue. Without `capacities` no target counts as
    cold. `recorder` counts what happens to jobs; without one nobody asks for the ages of what waits.
    `cache` keeps answers to give them again; without it every job is answered anew. `similar` compares questions that
    are only alike; without it such answers are never given. `trials` says which jobs are answered otherwise on trial,
    `adapters` which are answered with an adapter. `batches` holds the targets whose calls go out in batches of their
    provider.
    """

    def __init__(
        self,
        queue: JobQueue,
        backends: Mapping[str, Backend],
        rules: Rules,
        clock: Clock,
        tracer: Tracer | None = None,
        lease_seconds: float = 30.0,
        own_key_only: Collection[str] = (),
        *,
        spend: SpendBook,
        learned: Learned,
        cancels: Cancels,
        loads: LoadBook | None = None,
        capacities: Capacities | None = None,
        recorder: Recorder | None = None,
        cache: CacheStore | None = None,
        similar: SemanticCache | None = None,
        trials: Trials | None = None,
        adapters: AdapterStore | None = None,
        batches: Mapping[str, BatchedCalls] = MappingProxyType({}),
    ) -> None:
        self._time = BrokerTime(clock)
        self._backends: dict[str, Backend | BatchedCalls] = {**backends, **batches}
        self._spend = spend
        self._capacities = capacities
        loads = queue.loads() if loads is None else loads
        shared = Shared(spend, learned, cancels, loads, recorder, cache, similar, trials, adapters)
        self._parts = parts = Parts(
            queue, self._time, rules, self._backends, own_key_only, tracer, lease_seconds, shared
        )
        targets = rules.catalogue.targets
        self._runners = [parts.runner(targets[name], backend) for name, backend in backends.items()]
        self._runners += [parts.parked_runner(targets[name], each) for name, each in batches.items()]
        self._intake, self._rescuer = parts.intake(), parts.rescuer()
        self._stop = asyncio.Event()
        self._stopped = asyncio.Event()
        self._serving = False

    async def run(self) -> None:
        """Serve until `drain` is called. Return when nothing is in hand any more; raise only on a bug."""
        log.info("dispatcher_started", targets=sorted(self._backends))
        done = asyncio.Event()
        await self._look_around()
        try:
            async with asyncio.TaskGroup() as keeping:
                keeping.create_task(self._parts.leases.keep(done))
                for watching in self._watching(done):
                    keeping.create_task(watching)
                await self._load()
                await self._serve()
                await self._spend.close()
                done.set()
        finally:
            self._stopped.set()
        log.info("dispatcher_stopped")

    async def _look_around(self) -> None:
        """Read the time, report what is served here and read what is served elsewhere, before anything is taken."""
        parts = self._parts
        await parts.state.read(parts.queue, self._time)
        if self._capacities is not None:
            await parts.state.replicas.read(self._capacities, parts.clock)
        await parts.reporter.tell()
        await parts.peers.read()
        parts.state.note_elsewhere(parts.peers.served, parts.peers.away)

    def _watching(self, done: asyncio.Event) -> Iterator[Coroutine[None, None, None]]:
        """Yield the coroutines that run beside serving until it is to stop, or, the reports, until it is `done`."""
        parts = self._parts
        yield parts.state.watch(parts.queue, self._time, self._stop)
        yield parts.knowledge.watch(self._stop)
        yield parts.answers.watch(self._stop)
        yield parts.similar.run(self._stop)
        yield parts.promises.watch(self._stop)
        yield parts.experiments.watch(self._stop)
        yield parts.rollouts.run(self._stop)
        yield parts.adapters.watch(self._stop)
        yield parts.cancelling.watch(self._stop)
        if self._capacities is not None:
            yield parts.state.replicas.watch(self._capacities, parts.clock, self._stop)
        yield parts.reporter.run(self._stop, done)
        if parts.recorder is not None:
            yield parts.snapshots.watch(self._stop)
        yield parts.peers.watch(lambda: parts.state.note_elsewhere(parts.peers.served, parts.peers.away), self._stop)

    async def _load(self) -> None:
        """Wait until the cancellations and calibrations stored by others are known here, or a stop is requested."""
        needed = {"cancellations": self._parts.cancelling.current, "calibrations": self._parts.knowledge.loaded}
        for name, known in needed.items():
            while not (known.is_set() or self._stop.is_set()):
                if not await first_of((known, self._stop), LOAD_SECONDS):
                    log.warning("waiting_for_state", state=name)
        # No job needs these: where they are not to be had, all go on as control, and the base answers.
        wished = (self._parts.experiments.loaded, self._parts.adapters.loaded)
        await asyncio.gather(*(first_of((each, self._stop), LOAD_SECONDS) for each in wished))

    async def _serve(self) -> None:
        self._serving = True
        async with asyncio.TaskGroup() as serving:
            serving.create_task(self._intake.run(self._stop))
            serving.create_task(self._rescuer.run(self._stop))
            for runner in self._runners:
                serving.create_task(runner.run(self._stop))

    def snapshot(self) -> FleetSnapshot:
        """Return what this dispatcher knows of the fleet now."""
        return self._parts.snapshots.take()

    @property
    def is_serving(self) -> bool:
        """True while jobs are taken: the state they need has been read, and no stop is requested."""
        return self._serving and not self._stop.is_set()

    async def drain(self) -> None:
        """Take no more jobs, finish those that run, hand back those that only wait. Idempotent."""
        self._stop.set()
        await self._stopped.wait()

    async def close(self) -> None:
        """Close the backends."""
        for backend in self._backends.values():
            await backend.close()
