"""Snapshots of what a dispatcher knows, and the ages of what waits, which are asked of the broker for them alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from fleet.dispatch.containment import contained
from fleet.dispatch.patience import pause
from fleet.dispatch.semantic.lookups import LookUps
from fleet.dispatch.semantic.promises import Promises
from fleet.dispatch.state.knowledge import Knowledge
from fleet.dispatch.state.state import FleetState
from fleet.model.delivery import JobsOf, Source
from fleet.model.job import Lane
from fleet.model.snapshot import FleetSnapshot
from fleet.ports import Clock, JobQueue

AGES_SECONDS = 5.0
"""Interval between readings of the ages: one message is read for each lane, and for each target and lane with work."""


class Snapshots:
    """Takes snapshots of one dispatcher."""

    def __init__(
        self,
        queue: JobQueue,
        clock: Clock,
        state: FleetState,
        knowledge: Knowledge,
        similar: LookUps,
        promises: Promises,
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._state = state
        self._knowledge = knowledge
        self._similar = similar
        self._promises = promises
        self._since = clock.now()
        self._oldest_at: Mapping[Source, float] = {}

    def take(self) -> FleetSnapshot:
        """Return what is known now."""
        state, now = self._state, self._clock.now()
        depths, direct = state.traffic.depths, state.traffic.direct_at_reading
        jobs: Counter[Lane] = Counter()
        for source, count in depths.jobs.items():
            jobs[source.lane] += count - direct.get(source, 0)
        return FleetSnapshot(
            at=now,
            read_at=self._since if state.read_at is None else state.read_at,
            jobs={lane: max(0, count) for lane, count in jobs.items()},
            work=depths.work,
            tokens={work: count * state.loads.tokens_per_job(work) for work, count in depths.work.items()},
            oldest_at=self._oldest_at,
            targets=state.targets_now(now),
            spent=state.spent(),
            calibrations=self._knowledge.promises(),
            questions=self._similar.questions,
            cache_promises=self._promises.counts(),
        )

    async def watch(self, stop: asyncio.Event) -> None:
        """Read the ages again and again, until `stop` is set."""
        while not stop.is_set():
            with contained("ages_not_read", outage="ages_not_read"):
                await self.read_ages()
            await pause(stop, AGES_SECONDS)

    async def read_ages(self) -> None:
        """Ask the broker how old what waits is. Raises: QueueUnavailable."""
        sources: list[Source] = [*map(JobsOf, Lane), *self._state.traffic.depths.work]
        found = await self._queue.oldest(sources)
        self._oldest_at = {source: at for source, at in zip(sources, found, strict=True) if at is not None}
