"""The jobs that wait for a target: three lanes in order of service, and tenants that take turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from fleet.lab.simulation.workload.crowd import SimulatedJob
from fleet.model.job import FAIR_LANES, Lane
from policies.fairness import round_robin as fairness
from policies.fairness.round_robin import Grant, TenantTabs

QUEUED_PER_SLOT = 2
"""Jobs of a lane kept ready in WORK for each slot, as in the dispatcher; further ones wait in JOBS."""


class LaneQueue:
    """A lane of a target: first the jobs in WORK, in order, then those in JOBS, where tenants take turns."""

    __slots__ = ("_jobs", "_most", "_turns", "_work", "count")

    def __init__(self, lane: Lane, slots: int) -> None:
        self._most = QUEUED_PER_SLOT * slots if lane in FAIR_LANES else None
        self._work: deque[SimulatedJob] = deque()
        self._jobs: dict[str, deque[SimulatedJob]] = {}
        self._turns = TenantTabs()
        self.count = 0

    @property
    def in_work(self) -> int:
        return len(self._work)

    def in_jobs(self) -> Mapping[str, int]:
        """Count the jobs in JOBS by tenant."""
        return {tenant: len(jobs) for tenant, jobs in self._jobs.items() if jobs}

    def put(self, job: SimulatedJob, tenant: str) -> None:
        self.count += 1
        if self._most is None or (len(self._work) == self.count - 1 and self.count <= self._most):
            self._work.append(job)
        else:
            self._jobs.setdefault(tenant, deque()).append(job)

    def take(self) -> SimulatedJob:
        """Take the next job. Raises: IndexError if there is none."""
        job = self._work.popleft()
        self.count -= 1
        if self._most is not None and self.count > len(self._work) < self._most // 2:
            self._fill(self._most - len(self._work))
        return job

    def drain(self) -> list[SimulatedJob]:
        """Take all jobs."""
        return [self.take() for _ in range(self.count)]

    def overdue(self, now: float) -> Iterator[SimulatedJob]:
        """Take out the jobs at the front whose deadline is over."""
        for waiting in (self._work, *self._jobs.values()):
            while waiting and waiting[0].deadline_at <= now:
                self.count -= 1
                yield waiting.popleft()
        if not self._work and self.count and self._most is not None:
            self._fill(self._most)

    def _fill(self, room: int) -> None:
        """Move jobs from JOBS to WORK."""
        self._turns, grants = fairness.allot(self._turns, self.in_jobs(), room)
        for tenant, grant in grants.items():
            self._move(tenant, grant)

    def _move(self, tenant: str, grant: Grant) -> None:
        jobs = [self._jobs[tenant].popleft() for _ in range(grant.jobs)]
        self._work.extend(jobs)
        tokens = float(sum(job.input + job.output for job in jobs))
        self._turns = fairness.book(self._turns, tenant, grant, len(jobs), tokens)
