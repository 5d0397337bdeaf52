"""The jobs that run on the delivery they came in with, without a message of their own on WORK."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from fleet.model.delivery import AnyDelivery, JobsOf, WorkOf
from fleet.model.job import Lane


class DirectJobs:
    """Counts the direct deliveries that one dispatcher holds. Readings of the queue count them as waiting jobs."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[WorkOf, str]] = {}
        self._by_work: Counter[WorkOf] = Counter()
        self._by_queue: Counter[JobsOf] = Counter()

    def held(self, delivery: AnyDelivery) -> None:
        """Count the delivery of a direct job."""
        work, tenant = delivery.source, delivery.body.ref.tenant
        assert isinstance(work, WorkOf)
        self._held[id(delivery)] = work, tenant
        self._by_work[work] += 1
        self._by_queue[JobsOf(work.lane, tenant)] += 1

    def released(self, delivery: AnyDelivery) -> None:
        """Take off a delivery that is held no longer, if it was counted."""
        counted = self._held.pop(id(delivery), None)
        if counted is not None:
            work, tenant = counted
            self._by_work[work] -= 1
            queue = JobsOf(work.lane, tenant)
            self._by_queue[queue] -= 1
            if not self._by_queue[queue]:
                del self._by_queue[queue]

    def of(self, work: WorkOf) -> int:
        return self._by_work[work]

    def of_tenant(self, tenant: str) -> int:
        return sum(self.of_queue(JobsOf(lane, tenant)) for lane in Lane)

    def of_queue(self, queue: JobsOf) -> int:
        return self._by_queue.get(queue, 0)

    @property
    def queues(self) -> int:
        """The number of tenants' queues with such jobs. The broker keeps a consumer for each."""
        return len(self._by_queue)

    def by_work(self) -> Mapping[WorkOf, int]:
        return {work: jobs for work, jobs in self._by_work.items() if jobs}

    def by_queue(self) -> Mapping[JobsOf, int]:
        """Return how many jobs of each tenant's queue run now."""
        return dict(self._by_queue)
