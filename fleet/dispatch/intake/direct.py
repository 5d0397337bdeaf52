"""Direct jobs: a job that its target can run at once runs on the delivery with which it came in.

It is not stored on WORK first, which costs as much as everything else together. What follows from it is stored as for
any other job, and only then is its delivery acknowledged: after a crash it comes back from JOBS, and then takes the
way over WORK, where jobs that crash their dispatchers are found out. Paid calls always take that way.
"""

from __future__ import annotations

from collections.abc import Mapping

from fleet.dispatch.decide import Decider
from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.runner.buffer import Buffer
from fleet.dispatch.state.lease import Leases
from fleet.dispatch.state.state import FleetState
from fleet.model.action import Run
from fleet.model.attempt import Hop
from fleet.model.delivery import Delivery, JobsOf, WorkOf
from fleet.model.job import Job, Lane
from fleet.model.target import Target
from policies.budget import is_charged
from policies.fairness.batching import may_bring
from policies.resilience.deadline import deadline_at
from policies.rules.rules import Rules

MOST_QUEUES = 64
"""Tenants' queues with direct jobs at a time: the broker keeps a consumer for each as long as they run."""

MOST_RECENT = 16_384
REMEMBERED_SECONDS = 120.0
"""Direct jobs of which the id is remembered, and for how long, to recognise one that is sent twice.

As long as WORK does: later, the id may be that of a job whose result is kept no longer.
"""


class DirectEntry:
    """Puts jobs straight into the buffers of the targets that can run them at once."""

    def __init__(self, rules: Rules, state: FleetState, leases: Leases, decider: Decider) -> None:
        self._rules = rules
        self._state = state
        self._leases = leases
        self._decider = decider
        self._buffers: dict[str, Buffer] = {}
        self._recent: dict[str, tuple[float, float]] = {}
        self._outages = 0

    def open(self, target: Target, buffer: Buffer) -> None:
        """Let jobs for the target enter its buffer, unless each of its calls has to be put on record first."""
        if not is_charged(target):
            self._buffers[target.name] = buffer

    def rooms(self, lane: Lane, now: float) -> dict[str, int]:
        """Return how many jobs of the lane each target would run at once."""
        return {name: self._room(name, buffer, lane, now) for name, buffer in self._buffers.items()}

    def _room(self, name: str, buffer: Buffer, lane: Lane, now: float) -> int:
        state, leases = self._state, self._leases
        if buffer.closed or state.traffic.is_queued(name, lane):
            return 0
        if state.replicas.cold(name) or any(state.shut(name, now)):
            return 0
        if not may_bring(lane, leases.bytes_for(name), leases.work_bytes, len(state.traffic.targets)):
            return 0
        return state.free(name, now)[lane] - len(buffer)

    def repeats(self, inflight: InFlightJob, now: float) -> bool:
        """Return whether the job was sent twice, and another message of it has run directly or is about to.

        WORK recognises a repeated job by its id. That other message stays in JOBS until its job has its result. After
        an outage it may be gone, and its result too: the broker may have lost its disk, and clients send again.
        """
        if self._outages != self._state.outages:
            self._outages = self._state.outages
            self._recent.clear()
        stored_at, run_at = self._recent.get(inflight.call_id, (inflight.delivery.stored_at, now))
        return stored_at != inflight.delivery.stored_at and 0.0 <= now - run_at < REMEMBERED_SECONDS

    def put(self, inflight: InFlightJob, run: Run, rooms: Mapping[str, int], now: float) -> bool:
        """Let the job run on its own delivery if that can be at once; return whether it does."""
        delivery, job = inflight.delivery, inflight.job
        # A job that came back may have crashed its dispatcher.
        if rooms.get(run.target, 0) <= 0 or delivery.deliveries > 1 or not self._may_enter(job):
            return False
        self._decider.note_run(inflight, run, now)
        source, about = WorkOf(run.target, job.lane), (delivery.deliveries, delivery.stored_at, delivery.traceparent)
        here = Delivery(inflight.submitted or job, source, *about, delivery.raw, delivery.token)
        self._leases.exchange(delivery, here)
        self._remember(inflight, now)
        intake = Hop(delivery.stored_at, now, delivery.deliveries)
        running = InFlightJob(
            here,
            job,
            reason=run.reason,
            probe=run.probe,
            intake=intake,
            taken_at=now,
            near=inflight.near,
            assigned=inflight.assigned,
            submitted=inflight.submitted,
        )
        self._buffers[run.target].put(job.lane, running, now, deadline_at(job, self._rules))
        return True

    def _may_enter(self, job: Job) -> bool:
        """Return whether jobs of the queue may run directly: not where a quota counts them in the whole fleet.

        Other dispatchers see direct jobs only as waiting ones, and would refuse the jobs behind them.
        """
        direct = self._state.traffic.direct
        if self._rules.quotas.of(job.tenant).counts_jobs:
            return False
        return direct.queues < MOST_QUEUES or direct.of_queue(JobsOf(job.lane, job.tenant)) > 0

    def _remember(self, inflight: InFlightJob, now: float) -> None:
        self._recent[inflight.call_id] = inflight.delivery.stored_at, now
        if len(self._recent) > MOST_RECENT:
            del self._recent[next(iter(self._recent))]
