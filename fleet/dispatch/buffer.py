"""The jobs a runner has taken and not yet sent: at most one micro-batch per lane, ready when a slot comes free."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from fleet.dispatch.step import Case
from fleet.model.job import Lane
from fleet.model.target import Target
from policies.batching import take_now


@dataclass(frozen=True, slots=True)
class Waiting:
    case: Case
    since: float


class Buffer:
    """Waiting jobs by lane, in order of service. Bounded: `room` says how many more a lane may bring."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._lanes: dict[Lane, deque[Waiting]] = {lane: deque() for lane in Lane}
        self.changed = asyncio.Event()
        self._room = asyncio.Condition()

    def room(self, lane: Lane) -> int:
        return self._target.batch_size - len(self._lanes[lane])

    async def wait_for_room(self, lane: Lane) -> int:
        """How many jobs the lane may bring, once that is at least one."""
        async with self._room:
            await self._room.wait_for(lambda: self.room(lane) > 0)
        return self.room(lane)

    def put(self, lane: Lane, case: Case, now: float) -> None:
        self._lanes[lane].append(Waiting(case, now))
        self.changed.set()

    async def next_batch(self, free_slots: int, now: float) -> list[Case]:
        """The micro-batch to send now, from the first lane that has one; empty where none is due."""
        for waiting in self._lanes.values():
            if not waiting:
                continue
            count = take_now(len(waiting), now - waiting[0].since, free_slots, self._target)
            if count:
                return await self._pop(waiting, count)
        return []

    async def _pop(self, waiting: deque[Waiting], count: int) -> list[Case]:
        cases = [waiting.popleft().case for _ in range(count)]
        async with self._room:
            self._room.notify_all()
        return cases

    def due_in(self, now: float) -> float | None:
        """Seconds until the oldest waiting job has waited long enough; None where nothing waits."""
        oldest = [waiting[0].since for waiting in self._lanes.values() if waiting]
        if not oldest:
            return None
        return max(0.0, min(oldest) + self._target.batch_wait_seconds - now)

    async def empty(self) -> list[Case]:
        """Take everything out, for handing it back."""
        return [case for waiting in self._lanes.values() for case in await self._pop(waiting, len(waiting))]
