"""Long polls, which bring the next job of a tenant that has none waiting."""

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
"""Tenants with nothing waiting that are polled, so that their next job comes by itself. The broker announces other
tenants' interactive jobs, and the next reading shows their other jobs."""


class Listening:
    """The polls of one lane, and what they have brought. `complain` is called when a tenant's poll fails."""

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
        """Return whether there is something to receive."""
        return bool(self._brought)

    def brought(self) -> Sequence[tuple[str, Sequence[AnyDelivery]]]:
        """Return what came, by tenant; each delivery only once."""
        brought, self._brought = self._brought, []
        return brought

    def listen(self, most_from: Callable[[str], int]) -> None:
        """Keep a long poll open for tenants with nothing to take, so that their next job is noticed at once.

        Polls stay open where there is no room, too: what comes is held, and is then first in line.
        `most_from` returns how many jobs a tenant may bring.
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
