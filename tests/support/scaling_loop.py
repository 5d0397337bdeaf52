"""A target under load on a virtual clock, scaled by a policy, for the closed-loop tests of scaling.

A replica runs as many jobs at once as its target batches, each at an equal part of its rate; a replica asked for is
there after the cold start. Jobs are served lane by lane, oldest first, and expire while they wait.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from fleet.model.delivery import Depths, JobsOf, WorkOf
from fleet.model.job import Lane
from fleet.model.scaling import Capacity, LaneLoad, Load
from fleet.model.target import Target
from policies.rules.rules import Rules
from policies.scaling.reading import ReplicaBounds, ScalingInputs
from policies.scaling.replicas import ScalerState, decide

TICK_SECONDS = 1.0
QUIET_SECONDS = 600.0
"""When nothing has run, waited or been to come for so long, the rest of a run would be the same second again."""
KEPT_READY = 2
"""Jobs that dispatchers keep in the WORK of a lane, for each slot of the target."""


@dataclass(frozen=True, slots=True, order=True)
class Arrival:
    at: float
    lane: Lane = field(compare=False)
    tokens: float = field(compare=False)
    slack_seconds: float = field(compare=False)

    @property
    def deadline_at(self) -> float:
        return self.at + self.slack_seconds


@dataclass(slots=True)
class Seen:
    """The report of the one dispatcher on a lane."""

    jobs: float = 0.0
    tokens: float = 0.0
    slack_seconds: float = 0.0

    def note(self, tokens: float, slack_seconds: float) -> None:
        self.jobs = 0.999 * self.jobs + 1
        self.tokens += (tokens - self.tokens) / self.jobs
        self.slack_seconds += (slack_seconds - self.slack_seconds) / self.jobs


class Loop:
    """The target and its queues. `replica_seconds` counts replicas that run or start, as they are paid for."""

    def __init__(self, target: Target, arrivals: Iterable[Arrival], speed: float = 1.0) -> None:
        assert target.serving is not None
        self.target = target
        self.cold_seconds = target.serving.cold_seconds
        self._job_speed = speed * target.serving.tokens_per_second / target.batch_size
        self._coming = deque(sorted(arrivals))
        self._queues: dict[Lane, deque[Arrival]] = {lane: deque() for lane in Lane}
        self._in_hand: list[tuple[float, float, Arrival]] = []
        self._in_hand_of: Counter[Lane] = Counter()
        self._seen = {lane: Seen() for lane in Lane}
        self._done = 0.0
        self.now = 0.0
        self.running = 0
        self.starting: list[float] = []
        self.replica_seconds = 0.0
        self.missed = 0
        self.ended = 0
        self.changes: list[int] = []
        self.quiet_seconds = 0.0

    @property
    def there(self) -> int:
        return self.running + len(self.starting)

    @property
    def ongoing(self) -> int:
        """The requests a serving layer sees: no more than the one dispatcher lets through."""
        waiting = sum(len(queue) for queue in self._queues.values())
        return min(self.target.max_in_flight, len(self._in_hand) + waiting)

    @property
    def turns(self) -> int:
        """The number of times that growing became shrinking, or the other way round."""
        ups = [change > 0 for change in self.changes]
        return sum(one != other for one, other in pairwise(ups))

    def tick(self) -> None:
        self.now += TICK_SECONDS
        waits = self._coming or self._in_hand or any(self._queues.values())
        self.quiet_seconds = 0.0 if waits or self.there else self.quiet_seconds + TICK_SECONDS
        self.replica_seconds += self.there * TICK_SECONDS
        while self.starting and self.starting[0] + self.cold_seconds <= self.now:
            self.starting.pop(0)
            self.running += 1
        while self._coming and self._coming[0].at <= self.now:
            arrival = self._coming.popleft()
            self._queues[arrival.lane].append(arrival)
        self._finish()
        for queue in self._queues.values():
            self._serve(queue)

    def _finish(self) -> None:
        while self._in_hand and self._in_hand[0][0] <= self.now:
            ends_at, _, arrival = heapq.heappop(self._in_hand)
            self._in_hand_of[arrival.lane] -= 1
            self._done += arrival.tokens
            self._end(late=ends_at > arrival.deadline_at)

    def _serve(self, queue: deque[Arrival]) -> None:
        while queue and queue[0].deadline_at <= self.now:
            queue.popleft()
            self._end(late=True)
        while queue and len(self._in_hand) < self.running * self.target.batch_size:
            arrival = queue.popleft()
            ends_at = self.now + arrival.tokens / self._job_speed
            heapq.heappush(self._in_hand, (ends_at, arrival.at, arrival))
            self._in_hand_of[arrival.lane] += 1
            self._seen[arrival.lane].note(arrival.tokens, arrival.deadline_at - self.now)

    def _end(self, late: bool) -> None:
        self.ended += 1
        self.missed += late

    def scale_to(self, replicas: int) -> None:
        if replicas != self.there:
            self.changes.append(replicas - self.there)
        self.starting += [self.now] * (replicas - self.there)
        while self.there > replicas:
            if self.starting:
                self.starting.pop()
            else:
                self.running -= 1

    def reading(self) -> ScalingInputs:
        jobs, work = {}, {}
        for lane, queue in self._queues.items():
            room = max(0, KEPT_READY * self.target.max_in_flight - self._in_hand_of[lane])
            ready = len(queue) if lane is Lane.INTERACTIVE else min(len(queue), room)
            work[WorkOf(self.target.name, lane)] = ready + self._in_hand_of[lane]
            jobs[JobsOf(lane, "acme")] = len(queue) - ready
        seen = {lane: seen for lane, seen in self._seen.items() if seen.jobs}
        lanes = {WorkOf(self.target.name, lane): _load(seen) for lane, seen in seen.items()}
        load = Load("only", self.now, lanes, {self.target.name: self._done})
        starting_at = self.starting[0] if self.starting else None
        return ScalingInputs(Depths(jobs, work), [load], Capacity(self.running, len(self.starting), starting_at))


def _load(seen: Seen) -> LaneLoad:
    return LaneLoad(seen.jobs, seen.tokens, seen.slack_seconds)


def run_ours(loop: Loop, bounds: ReplicaBounds, rules: Rules, until: float) -> Loop:
    memory = ScalerState()
    while loop.now < until and loop.quiet_seconds < QUIET_SECONDS:
        loop.tick()
        decision, memory = decide(loop.reading(), memory, loop.target, bounds, rules, loop.now)
        loop.scale_to(decision.replicas)
    loop.now = max(loop.now, until)
    return loop


def run_ongoing_requests(loop: Loop, bounds: ReplicaBounds, per_replica: float, until: float) -> Loop:
    """Run the loop under Ray Serve 2.60's default policy, with its default delays and its mean over 30 seconds."""
    window: deque[int] = deque(maxlen=30)
    since, sign = 0.0, 0
    while loop.now < until:
        loop.tick()
        window.append(loop.ongoing)
        mean, goal = sum(window) / len(window), loop.there
        if loop.running == 0:
            if mean > 0:
                loop.scale_to(max(1, goal))  # from zero: one at once, no more until it runs
            continue
        wanted = max(bounds.least, min(math.ceil(mean / per_replica), bounds.most))
        direction = (wanted > goal) - (wanted < goal)
        if direction != sign:
            since, sign = loop.now, direction
        if direction > 0 and loop.now - since >= 30:
            loop.scale_to(wanted)
            sign = 0
        elif direction < 0 and loop.now - since >= 600:
            loop.scale_to(wanted if goal == 1 else max(1, wanted))
            sign = 0
    return loop


def burst(jobs: int, lane: Lane, slack_seconds: float, at: float, seed: int) -> list[Arrival]:
    rng = random.Random(seed)
    return [Arrival(at, lane, rng.uniform(200, 600), slack_seconds) for _ in range(jobs)]


def stream(
    rate: Callable[[float], float], most: float, lane: Lane, slack_seconds: float, until: float, seed: int
) -> list[Arrival]:
    """Return a Poisson process by thinning: its rate, jobs per second, changes with time and is never above `most`."""
    rng = random.Random(seed)
    arrivals, at = [], 0.0
    while (at := at + rng.expovariate(most)) < until:
        if rng.random() * most < rate(at):
            arrivals.append(Arrival(at, lane, rng.uniform(200, 600), slack_seconds))
    return arrivals
