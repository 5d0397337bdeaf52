"""Long polls: the next job of a tenant that has none waiting comes by itself."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Sequence

from fleet.dispatch.intake.lines import REMEMBERED_SECONDS, Line, Lines
from fleet.dispatch.patience import PAUSE_SECONDS
from fleet.dispatch.state.state import FleetState
from fleet.interruption import raise_own
from fleet.model.delivery import AnyDelivery, JobsOf
from fleet.model.job import Lane
from fleet.ports import Clock, JobQueue

LONG_POLL_SECONDS = 10.0
LONG_POLL_JOBS = 32
MOST_POLLS = 32
"""Tenants with nothing waiting that are listened to: their next job comes by itself. Of an interactive job of another
the broker tells, and other jobs are noticed with the next reading."""


class Listening:
    """The polls of one lane, and what they have brought. `complain` is told of a tenant's poll that failed."""

    def __init__(
        self,
        lane: Lane,
        queue: JobQueue,
        clock: Clock,
        state: FleetState,
        lines: Lines,
        complain: Callable[[str, BaseException], None],
    ) -> None:
        self._lane = lane
        self._queue = queue
        self._clock = clock
        self._state = state
        self._lines = lines
        self._complain = complain
        self._brought: list[tuple[str, Sequence[AnyDelivery]]] = []

    @property
    def has_brought(self) -> bool:
        """Whether there is something to receive."""
        return bool(self._brought)

    def brought(self) -> Sequence[tuple[str, Sequence[AnyDelivery]]]:
        """Give out what came, by tenant; each only once."""
        brought, self._brought = self._brought, []
        return brought

    def listen(self, most_from: Callable[[str], int]) -> None:
        """Keep a long poll open for every tenant with nothing to take, so that its next job is noticed at once.

        Also where there is no room: what comes is held, and is first in line then.
        `most_from` says how many jobs a tenant may bring.
        """
        now = self._clock.now()
        free = MOST_POLLS - sum(line.poll is not None for _, line in self._lines)
        quiet = [(line.seen_at, tenant) for tenant, line in self._lines if line.may_be_listened_to]
        for seen_at, tenant in heapq.nlargest(free, quiet) if free > 0 else ():
            line = self._lines[tenant]
            jobs = min(LONG_POLL_JOBS, most_from(tenant))
            if jobs > 0 and now - seen_at <= REMEMBERED_SECONDS:
                line.poll = asyncio.create_task(self._await_jobs(tenant, line, jobs))

    async def _await_jobs(self, tenant: str, line: Line, jobs: int) -> None:
        try:
            deliveries = await self._queue.take(JobsOf(self._lane, tenant), jobs, LONG_POLL_SECONDS)
        except BaseException as error:
            raise_own(error)
            self._complain(tenant, error)
            await asyncio.sleep(PAUSE_SECONDS)
            deliveries = []
        finally:
            line.poll = None  # also after a bug: a tenant with a poll is not taken from in any other way
        line.listened(jobs, len(deliveries))
        if deliveries:
            self._brought.append((tenant, deliveries))
        self._state.announce()

    async def close(self) -> None:
        """End the polls."""
        polls = [line.poll for _, line in self._lines if line.poll]
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
