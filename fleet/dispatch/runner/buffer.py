"""The jobs a runner has taken and not sent yet: of each lane those with a free slot, and a micro-batch to follow."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fleet.dispatch.in_flight import InFlightJob
from fleet.model.job import Lane
from fleet.model.target import Target
from fleet.model.unguarded import unguarded
from policies.fairness.batching import take_now, together


@unguarded
@dataclass(frozen=True, slots=True)
class BufferedJob:
    """A job in the buffer. `until` is its deadline, in unix seconds."""

    inflight: InFlightJob
    since: float
    until: float


class Buffer:
    """Waiting jobs by lane, in order of service. Bounded: `room` says how many more a lane may bring."""

    def __init__(self, target: Target, adapter_of: Callable[[InFlightJob, float], str | None] | None = None) -> None:
        """Make an empty buffer; `adapter_of` says which adapter a job's call asks for now, where there are any."""
        self._target = target
        self._adapter_of = adapter_of
        self._lanes: dict[Lane, deque[BufferedJob]] = {lane: deque() for lane in Lane}
        self.changed = asyncio.Event()
        self._room = asyncio.Condition()
        self.closed = False

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def close(self) -> None:
        """Take no more direct jobs: what is here is about to be handed back."""
        self.closed = True

    def room(self, lane: Lane) -> int:
        return self._target.batch_size - len(self._lanes[lane])

    async def wait_for_room(self, lane: Lane) -> int:
        """Wait until the lane has room for at least one job; return how many it may bring."""
        async with self._room:
            await self._room.wait_for(lambda: self.room(lane) > 0)
        return self.room(lane)

    def put(self, lane: Lane, inflight: InFlightJob, now: float, until: float) -> None:
        self._lanes[lane].append(BufferedJob(inflight, now, until))
        self.changed.set()

    async def next_batch(self, free: Mapping[Lane, int], idle: bool, now: float) -> list[InFlightJob]:
        """Take out the micro-batch to send now, from the first lane that has one; empty where none is due.

        `free` is how many slots each lane may fill; `idle` says that nothing runs on the target.
        """
        for lane, waiting in self._lanes.items():
            if not waiting:
                continue
            count = take_now(len(waiting), now - waiting[0].since, free[lane], idle, self._target)
            if count:
                return await self._pop(waiting, count, now)
        return []

    async def _pop(self, waiting: deque[BufferedJob], count: int, now: float | None = None) -> list[InFlightJob]:
        """Take out the first jobs; those for a batch at `now` with their adapters, of which only so many may differ."""
        chosen = [] if now is None else self._adapters_of(waiting, now)
        if any(chosen):
            jobs = self._together(waiting, count, chosen)
        else:
            jobs = [waiting.popleft().inflight for _ in range(count)]
        async with self._room:
            self._room.notify_all()
        return jobs

    def _adapters_of(self, waiting: Iterable[BufferedJob], now: float) -> list[str | None]:
        choose = self._adapter_of
        return [] if choose is None else [choose(each.inflight, now) for each in waiting]

    def _together(self, waiting: deque[BufferedJob], count: int, adapters: Sequence[str | None]) -> list[InFlightJob]:
        assert self._target.adapters is not None
        places = together(adapters, count, self._target.adapters.at_once)
        jobs = [replace(waiting[place].inflight, adapter=adapters[place]) for place in places]
        for place in sorted(places, reverse=True):
            del waiting[place]
        return jobs

    def due_in(self, free: Mapping[Lane, int], now: float) -> float | None:
        """Return seconds until the oldest job with a free slot has waited long enough; None where there is none."""
        oldest = [waiting[0].since for lane, waiting in self._lanes.items() if waiting and free[lane] > 0]
        if not oldest:
            return None
        return max(0.0, min(oldest) + self._target.batch_wait_seconds - now)

    async def overdue(self, now: float) -> list[InFlightJob]:
        """Take out the jobs whose deadline has passed."""
        jobs: list[InFlightJob] = []
        for waiting in self._lanes.values():
            late = [each for each in waiting if each.until <= now]
            for each in late:
                waiting.remove(each)
            jobs += [each.inflight for each in late]
        if jobs:
            async with self._room:
                self._room.notify_all()
        return jobs

    async def revise(self, look: Callable[[InFlightJob], InFlightJob | None]) -> None:
        """Replace each job by `look(job)`; drop those for which it returns None."""
        for lane, waiting in self._lanes.items():
            looked_at = [(each, look(each.inflight)) for each in waiting]
            self._lanes[lane] = deque(
                replace(each, inflight=inflight) for each, inflight in looked_at if inflight is not None
            )
        async with self._room:
            self._room.notify_all()

    def overdue_in(self, now: float) -> float | None:
        """Return seconds until the first deadline of a waiting job passes; None where nothing waits."""
        first = min((each.until for waiting in self._lanes.values() for each in waiting), default=None)
        return None if first is None else max(0.0, first - now)

    async def empty(self) -> list[InFlightJob]:
        """Take all jobs out, to hand them back."""
        return [inflight for waiting in self._lanes.values() for inflight in await self._pop(waiting, len(waiting))]
