"""One dispatcher: intake for every lane and a runner for every target it can reach."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import structlog

from fleet.dispatch.cancelling import Cancelling
from fleet.dispatch.intake import Intake
from fleet.dispatch.knowledge import Knowledge, Learned
from fleet.dispatch.lease import Leases
from fleet.dispatch.office import Office
from fleet.dispatch.orphans import Orphans
from fleet.dispatch.runner import Runner
from fleet.dispatch.spans import Spans
from fleet.dispatch.state import FleetState
from fleet.dispatch.till import Till
from fleet.ports import Backend, Cancels, Clock, JobQueue, SpendBook, Tracer
from policies.rules import Rules

log = structlog.get_logger(__name__)


class Dispatcher:
    """Runs until drained. `backends` holds the targets that are configured; the others count as unavailable.

    `own_key_only` names those among them that serve only tenants with a key of their own; `spend` is the book that
    all dispatchers of the fleet share, and `cancels` the jobs that are called off.
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
    ) -> None:
        state = FleetState(backends, rules, own_key_only, spend.seen)
        self._backends = backends
        self._spend = spend
        leases, till = Leases(queue, lease_seconds), Till(spend, rules)
        knowledge = Knowledge(learned, state, rules)
        cancelling = Cancelling(cancels, queue, clock)
        self._office = Office(queue, rules, clock, state, Spans(tracer), leases, till, knowledge, cancelling)
        targets = [rules.catalogue.targets[name] for name in backends]
        self._runners = [Runner(target, backends[target.name], self._office) for target in targets]
        self._intake = Intake(self._office)
        self._stop = asyncio.Event()
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Serve until `drain` is called. Returns when nothing is in hand any more; raises only on a bug."""
        log.info("dispatcher_started", targets=sorted(self._backends))
        done = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as keeping:
                keeping.create_task(self._office.leases.keep(done))
                keeping.create_task(self._office.state.watch(self._office.queue, self._stop))
                keeping.create_task(self._office.knowledge.watch(self._stop))
                keeping.create_task(self._office.cancelling.watch(self._stop))
                await self._serve()
                await self._spend.close()
                done.set()
        finally:
            self._stopped.set()
        log.info("dispatcher_stopped")

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as serving:
            serving.create_task(self._intake.run(self._stop))
            serving.create_task(Orphans(self._office).run(self._stop))
            for runner in self._runners:
                serving.create_task(runner.run(self._stop))

    async def drain(self) -> None:
        """Take nothing more, finish what runs, hand back what only waits. Idempotent."""
        self._stop.set()
        await self._stopped.wait()

    async def close(self) -> None:
        """Let go of the backends."""
        for backend in self._backends.values():
            await backend.close()
