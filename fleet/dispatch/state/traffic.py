"""The jobs on their way to each target: the last reading, what this dispatcher moved since, and what runs here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.state.direct import DirectJobs
from fleet.model.attempt import Outcome
from fleet.model.delivery import Depths, Fill, JobsOf, WorkOf
from fleet.model.job import Lane
from fleet.model.target import Target
from policies.budget import own_key_for
from policies.fairness import batching, bursts, fullness
from policies.features.needs import tokens_of
from policies.resilience import pacing
from policies.rules.sections import Estimates

QUEUED_PER_SLOT = 2
"""Jobs kept ready in each lane for each slot of a target: enough never to idle, since room is noticed at once."""

OVERFULL_PER_SLOT = 2 * QUEUED_PER_SLOT
"""Jobs per slot beyond which only escalations lengthen a target's queue, apart from other dispatchers' work."""

PORTIONS = 8
"""Room for less than this part of a target's ready jobs is not worth the broker's round trips: the rest lasts."""

MOST_PER_SLOT = 64
"""Stored jobs per slot up to which free slots here still get jobs, where work at other dispatchers fills the count."""

LOOK_AGAIN_SECONDS = 1.0
"""Maximum wait before asking again whether a target takes calls: a clock may jump."""


AHEAD = {lane: tuple(Lane)[: index + 1] for index, lane in enumerate(Lane)}
"""The lanes served before each lane, and itself."""


class Traffic:
    """The counts of one dispatcher's traffic; `targets` are those served here."""

    def __init__(self, targets: Iterable[Target], estimates: Estimates) -> None:
        self._targets = {target.name: target for target in targets}
        self._estimates = estimates
        self._depths = Depths()
        self._moved: Counter[WorkOf] = Counter()
        self._in_flight_since: Counter[str] = Counter()
        self._unsent: Counter[tuple[WorkOf, str]] = Counter()
        self._running: dict[str, Counter[Lane]] = {name: Counter() for name in self._targets}
        self._leaving: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._on_account: Counter[str] = Counter()
        self._starved: set[WorkOf] = set()
        self._queued: set[WorkOf] = set()
        self.direct = DirectJobs()
        self._direct_before: Mapping[JobsOf, int] = {}
        self.direct_at_reading: Mapping[JobsOf, int] = {}
        """The jobs of the last reading that ran here then, by queue."""
        self._overfilling: set[tuple[str, Lane]] = set()
        self._meters = dict.fromkeys(self._targets, pacing.Meter())
        self._bursts = dict.fromkeys(self._targets, bursts.Bursts())
        self._brought_bytes = self._brought_before = 0
        self._refused: Counter[JobsOf] = Counter()
        self._refused_before: Counter[JobsOf] = Counter()
        self._refused_bytes = self._refused_bytes_before = 0
        self.queued: Mapping[str, int] = {}
        self.elsewhere: Mapping[str, int] = {}
        """The slots of the targets that only other dispatchers serve."""

    @property
    def targets(self) -> Collection[str]:
        """The targets served here."""
        return self._targets

    @property
    def depths(self) -> Depths:
        """The last reading."""
        return self._depths

    def read(self, depths: Depths, moved_before: tuple[Counter[WorkOf], Counter[str]]) -> None:
        """Take in a reading; what was `moved_before` it was asked for is in it."""
        self._depths, self.queued = depths, depths.by_target()
        self.direct_at_reading = self._direct_before
        self._brought_bytes -= self._brought_before
        self._refused -= self._refused_before
        self._refused_bytes -= self._refused_bytes_before
        self._overfilling = self._find_overfilling()
        for since, before in ((self._moved, moved_before[0]), (self._in_flight_since, moved_before[1])):
            since.subtract(before)  # type: ignore[arg-type]  # each counter with its own kind of key
            for key in [key for key, count in since.items() if not count]:
                del since[key]

    def moved(self) -> tuple[Counter[WorkOf], Counter[str]]:
        """Return what was moved since the last reading, for `read`, without what is not sent yet."""
        self._brought_before, self._direct_before = self._brought_bytes, self.direct.by_queue()
        self._refused_before, self._refused_bytes_before = Counter(self._refused), self._refused_bytes
        moved, in_flight = Counter(self._moved), Counter(self._in_flight_since)
        for work, tenant in self._unsent.elements():
            moved[work] -= 1
            in_flight[tenant] -= 1
        return moved, in_flight

    def sending(self, work: WorkOf, tenant: str) -> None:
        """Count a job on its way to a target before it is stored there. `sent` has to follow."""
        self.handed_over(work, tenant)
        self._unsent[work, tenant] += 1

    def sent(self, work: WorkOf, tenant: str) -> None:
        """Note that a job is stored, or that storing it failed, which the next reading shows."""
        self._unsent[work, tenant] -= 1
        if not self._unsent[work, tenant]:
            del self._unsent[work, tenant]

    def handed_over(self, work: WorkOf, tenant: str, jobs: int = 1) -> None:
        """Count jobs put on their way to a target; a negative number takes them off."""
        if jobs > 0:
            self._queued.add(work)
        self._moved[work] += jobs
        self._in_flight_since[tenant] += jobs

    def brought(self, size: int) -> None:
        """Count the bytes of a job that was put on its way."""
        self._brought_bytes += size

    def refused(self, source: JobsOf, jobs: int, size: int) -> None:
        """Count refused jobs, and their bytes together."""
        self._refused[source] += jobs
        self._refused_bytes += size

    def waiting(self) -> tuple[Mapping[JobsOf, int], Fill]:
        """Return the jobs of the last reading and how full their stream is, without what has been refused since.

        Jobs refused while the reading was made may be in it or not: they count as if they were, so that nothing is
        refused for them again.
        """
        jobs, fill = self._depths.jobs, self._depths.jobs_fill
        if not self._refused:
            return jobs, fill
        # The broker stores more for a job than its bytes, so subtract at least what average jobs take.
        average = fill.size * self._refused.total() // max(1, sum(jobs.values()))
        size = fill.size - max(self._refused_bytes, average)
        left = {source: count - self._refused[source] for source, count in jobs.items()}
        return {source: count for source, count in left.items() if count > 0}, Fill(max(0, size), fill.limit)

    def has_space(self, lane: Lane) -> bool:
        """Return whether the stream of work has space for more jobs of the lane, beside what escalates from there."""
        return fullness.takes_work(self._depths.work_fill, self._brought_bytes, lane)

    def in_flight_of(self, tenant: str) -> int:
        """Return the number of the tenant's jobs between intake and result, in the whole fleet."""
        on_work = max(0, self._depths.in_flight.get(tenant, 0) + self._in_flight_since[tenant])
        return on_work + self.direct.of_tenant(tenant)

    def room(self, name: str, lane: Lane, now: float) -> int:
        """Return how many more jobs of the lane may be sent to the target, warm or cold.

        The scaling rules rely on this: jobs that stay in JOBS while a target has room are not for that target.
        """
        if not self.has_space(lane):
            return 0
        work = WorkOf(name, lane)
        since, stored = self._moved[work], self._stored(work)
        target = self._targets.get(name)
        if target is None:
            return max(0, QUEUED_PER_SLOT * self.elsewhere.get(name, 0) - stored)
        # Interactive jobs wait for the end of a provider's pause where they are first to go.
        if lane is not Lane.INTERACTIVE and self.calls_left(name, now) <= 0:
            return 0
        room = QUEUED_PER_SLOT * target.max_in_flight - stored - self.direct.of(work)
        if room <= 0 and work in self._starved and stored < MOST_PER_SLOT * target.max_in_flight:
            room = self.free(name, now)[lane] - max(0, since)
        return max(0, room)

    def overfills(self, tenant: str, lane: Lane) -> bool:
        """Return whether the tenant has more than its share of a target's queue that is longer than intake makes it.

        Only escalations make it so long, and nothing holds them back, so the tenant's further jobs are held back.
        """
        return (tenant, lane) in self._overfilling

    def _find_overfilling(self) -> set[tuple[str, Lane]]:
        found: set[tuple[str, Lane]] = set()
        for work, tenants in self._depths.work_by_tenant.items():
            target = self._targets.get(work.target)
            if target is None or work in self._starved:
                continue  # where nothing is left to take, what is stored runs, at other dispatchers perhaps
            bound = OVERFULL_PER_SLOT * target.max_in_flight
            if sum(tenants.values()) > bound:
                share = max(1, bound // len(tenants))
                found |= {(tenant, work.lane) for tenant, jobs in tenants.items() if jobs > share}
        return found

    def is_portion(self, name: str, lane: Lane, room: int) -> bool:
        """Return whether so much room is worth filling now; any room is where nothing is left to run."""
        slots = self._targets[name].max_in_flight if name in self._targets else self.elsewhere.get(name, 0)
        enough = room * PORTIONS >= QUEUED_PER_SLOT * slots
        return enough or WorkOf(name, lane) in self._starved

    def taken(self, work: WorkOf, jobs: int, more: bool) -> None:
        """Note how many jobs a take brought to this dispatcher, and whether more may wait there."""
        (self._starved.discard if jobs else self._starved.add)(work)
        (self._queued.add if more else self._queued.discard)(work)

    def is_queued(self, name: str, lane: Lane) -> bool:
        """Return whether work may wait for the target that a job of this lane must not overtake."""
        return any(WorkOf(name, each) in self._queued for each in AHEAD[lane])

    def started(self, name: str, jobs: Sequence[InFlightJob]) -> None:
        self._count(name, jobs, 1)

    def ended(self, name: str, jobs: Sequence[InFlightJob]) -> None:
        self._count(name, jobs, -1)

    def _count(self, name: str, jobs: Sequence[InFlightJob], sign: int) -> None:
        for inflight in jobs:
            self._running[name][inflight.job.lane] += sign
            if own_key_for(inflight.job, self._targets[name]) is None:
                self._on_account[name] += sign
            if self._targets[name].is_cloud:  # nobody else counts tokens
                self._tokens[name] += sign * tokens_of(inflight.job.request, self._estimates)

    def running(self) -> Mapping[WorkOf, int]:
        """Return how many jobs run here now, by target and lane."""
        return {
            WorkOf(name, lane): jobs for name, lanes in self._running.items() for lane, jobs in lanes.items() if jobs
        }

    def in_flight(self, name: str) -> int:
        return self._running[name].total()

    def on_account(self, name: str) -> int:
        """Return how many of the target's jobs in flight use the fleet's own key."""
        return self._on_account[name]

    def free(self, name: str, now: float) -> dict[Lane, int]:
        """Return how many slots each lane may fill now."""
        interactive = self._running[name][Lane.INTERACTIVE]
        others = self._running[name].total() - interactive
        self._bursts[name] = bursts.noted(self._bursts[name], interactive + self._coming(name), now)
        calls, target, burst = self.calls_left(name, now), self._targets[name], self._bursts[name].largest
        return {lane: int(min(calls, batching.free_for(lane, interactive, others, target, burst))) for lane in Lane}

    def is_short(self, name: str) -> bool:
        """Return whether more interactive jobs are on their way to the target than slots are free or about to be."""
        return self._targets[name].max_in_flight - self.in_flight(name) + self._leaving[name] < self._coming(name)

    @contextmanager
    def leaving(self, name: str, jobs: int) -> Iterator[None]:
        """Note that so many jobs are about to free their slots."""
        self._leaving[name] += jobs
        try:
            yield
        finally:
            self._leaving[name] -= jobs

    def _coming(self, name: str) -> int:
        """Return how many interactive jobs are stored for the target and do not run here: they are on their way, or
        run at another dispatcher.
        """
        work = WorkOf(name, Lane.INTERACTIVE)
        return max(0, self._stored(work) + self.direct.of(work) - self._running[name][Lane.INTERACTIVE])

    def _stored(self, work: WorkOf) -> int:
        return self._depths.work.get(work, 0) + self._moved[work]

    def heard(self, name: str, outcome: Outcome, now: float) -> None:
        """Learn what the provider said is left for the fleet's account."""
        self._meters[name] = pacing.after(self._meters[name], outcome, now)

    def calls_left(self, name: str, now: float) -> float:
        return pacing.calls(self._meters[name], self.in_flight(name), self._tokens[name], now)

    def opens_in(self, name: str, now: float) -> float | None:
        """Return seconds until asking again how many calls may be made; None where nothing changes without notice.

        Other dispatchers' interactive jobs end unnoticed, and the provider's limits change with time.
        """
        seconds = pacing.opens_in(self._meters[name], now)
        if seconds is None:
            return LOOK_AGAIN_SECONDS if self._coming(name) else None
        return min(seconds, LOOK_AGAIN_SECONDS)

    def clock_set(self, step_seconds: float) -> None:
        """Shift providers' pauses by the step, so that they end when they would have."""
        self._meters = {name: pacing.put(meter, step_seconds) for name, meter in self._meters.items()}

    def shut_until_at(self, name: str) -> float:
        """Return until when jobs are better off elsewhere, in unix seconds; 0 where the provider has not said so."""
        return self._meters[name].shut_until_at
