"""A target in the simulation: the jobs that run there by lane, those that wait, and its replicas or provider."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from fleet.lab.simulation.targets.lanes import LaneQueue
from fleet.lab.simulation.targets.pool import Pool
from fleet.lab.simulation.targets.provider import SimulatedProvider
from fleet.lab.simulation.workload.crowd import SimulatedJob
from fleet.lab.simulation.workload.scenario import Kind, Own, Paid
from fleet.model.attempt import Outcome
from fleet.model.job import Lane
from fleet.model.scaling import Capacity
from fleet.model.target import Target
from policies.fairness import batching

LANES = tuple(Lane)


class SimulatedTarget:
    """The counts and queues of a target; `waiting` is the sum over the lanes. Lanes share slots as in production.

    `asleep` are the jobs that wait for the first replica, with their lanes.
    """

    def __init__(self, target: Target, dispatchers: int) -> None:
        self.target = target
        self.most = dispatchers * target.max_in_flight
        self.lines = {lane: LaneQueue(lane, target.max_in_flight) for lane in LANES}
        self.waiting = 0
        self.asleep: list[tuple[SimulatedJob, Lane]] = []
        self.running = 0
        self.running_in = dict.fromkeys(LANES, 0)
        self.attempts = 0
        self.usd = 0.0
        self.tokens_done = 0.0
        self.sized = replace(target, max_in_flight=self.most)

    def put(self, job: SimulatedJob, kind: Kind) -> None:
        self.waiting += 1
        self.lines[kind.lane].put(job, kind.tenant)

    def take(self, lane: Lane) -> SimulatedJob:
        self.waiting -= 1
        return self.lines[lane].take()

    def drain(self) -> list[SimulatedJob]:
        self.waiting = 0
        return [job for line in self.lines.values() for job in line.drain()]

    def overdue(self, now: float) -> list[SimulatedJob]:
        late = [job for line in self.lines.values() for job in line.overdue(now)]
        self.waiting -= len(late)
        return late

    def asleep_in(self, lane: Lane) -> int:
        """Count the jobs of the lane that wait for the first replica."""
        return sum(each is lane for _, each in self.asleep)

    def free(self, lane: Lane, now: float) -> int:
        """Return how many jobs of the lane may start now; less than one means none."""
        interactive = self.running_in[Lane.INTERACTIVE]
        return batching.free_for(lane, interactive, self.running - interactive, self.sized)

    def entered(self, lane: Lane) -> None:
        self.attempts += 1
        self.running += 1
        self.running_in[lane] += 1

    def left(self, lane: Lane) -> None:
        self.running -= 1
        self.running_in[lane] -= 1


class OwnServer(SimulatedTarget):
    """A server with running replicas, and the times starting ones were asked for: `replica_seconds` count from then."""

    def __init__(self, target: Target, own: Own, pool: Pool, dispatchers: int) -> None:
        super().__init__(target, dispatchers)
        assert target.serving is not None, "the scenario was checked"
        self.own = own
        self.serving = target.serving
        self.pool = pool
        self.starting: deque[float] = deque()
        self.replica_seconds = 0.0
        self.lost = 0
        self._paid_until = 0.0
        self._fit_slots()

    @property
    def there(self) -> int:
        return self.pool.replicas + len(self.starting)

    @property
    def ongoing(self) -> int:
        """The jobs that a Serve handle would know of: as many as the dispatchers have slots, running or not."""
        return min(self.most, self.running + self.waiting)

    def free(self, lane: Lane, now: float) -> int:
        return super().free(lane, now) if self.pool.replicas else 0

    def wake(self) -> list[SimulatedJob]:
        """Take all jobs that waited for a replica."""
        jobs, self.asleep = [job for job, _ in self.asleep], []
        return jobs

    def capacity(self) -> Capacity:
        return Capacity(self.pool.replicas, len(self.starting), self.starting[0] if self.starting else None)

    def ask_for(self, now: float) -> None:
        self._pay(now)
        self.starting.append(now)

    def ready(self, now: float) -> None:
        """Let the replica that was asked for first run."""
        self._pay(now)
        self.starting.popleft()
        self._resize(self.pool.replicas + 1, now)

    def let_go(self, count: int, now: float) -> None:
        """Remove replicas, the youngest first, starting ones before running ones; the last waits for the jobs on it."""
        self._pay(now)
        while count and self.starting:
            self.starting.pop()
            count -= 1
        least = 1 if self.pool.n else 0
        self._resize(max(least, self.pool.replicas - count), now)

    def lose_one(self, now: float) -> list[SimulatedJob]:
        """Lose a spot machine; return the jobs on it."""
        self._pay(now)
        self.lost += 1
        jobs = self.pool.lose_one(now)
        self._fit_slots()
        return jobs

    def close(self, now: float) -> None:
        """Close the books at the end of the simulation."""
        self._pay(now)

    def _resize(self, replicas: int, now: float) -> None:
        self.pool.resize(replicas, now)
        self._fit_slots()

    def _fit_slots(self) -> None:
        self.sized = replace(self.target, max_in_flight=max(1, min(self.most, self.pool.slots)))

    def _pay(self, now: float) -> None:
        self.replica_seconds += self.there * (now - self._paid_until)
        self._paid_until = now


class PaidServer(SimulatedTarget):
    """A server with a provider; at `look_at` it is checked next whether the provider takes more calls."""

    def __init__(self, target: Target, paid: Paid, dispatchers: int) -> None:
        super().__init__(target, dispatchers)
        self.provider = SimulatedProvider(paid)
        self.look_at = 0.0

    def free(self, lane: Lane, now: float) -> int:
        return min(super().free(lane, now), self.provider.calls_left(self.running, now))

    def call(self, job: SimulatedJob, now: float) -> tuple[float, Outcome]:
        return self.provider.call(job, now)
