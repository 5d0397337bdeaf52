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
from fleet.dispatch.spans import Spans
from fleet.dispatch.state.lease import Leases
from fleet.dispatch.state.state import FleetState
from fleet.model.action import Run
from fleet.model.delivery import Delivery, WorkOf
from fleet.model.job import Lane
from fleet.model.target import Target
from fleet.ports import Clock
from policies.budget import is_charged
from policies.fairness.batching import may_bring
from policies.resilience.deadline import deadline_at
from policies.rules.rules import Rules

MOST_TENANTS = 64
"""Tenants with direct jobs at a time: the broker keeps a consumer for each as long as they run."""

MOST_RECENT = 16_384
"""Direct jobs of which the id is remembered, to recognise one that is sent twice."""


class DirectEntry:
    """Puts jobs straight into the buffers of the targets that can run them at once."""

    def __init__(
        self, rules: Rules, clock: Clock, state: FleetState, leases: Leases, spans: Spans, decider: Decider
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._state = state
        self._leases = leases
        self._spans = spans
        self._decider = decider
        self._buffers: dict[str, Buffer] = {}
        self._recent: dict[str, float] = {}

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

    def repeats(self, inflight: InFlightJob) -> bool:
        """Return whether the job was sent twice, and another message of it has run directly or is about to.

        WORK recognises a repeated job by its id. That other message stays in JOBS until its job has its result.
        """
        known_at = self._recent.get(inflight.call_id)
        return known_at is not None and known_at != inflight.delivery.stored_at

    def put(self, inflight: InFlightJob, run: Run, rooms: Mapping[str, int], now: float) -> bool:
        """Let the job run on its own delivery if that can be at once; return whether it does."""
        delivery, job, direct = inflight.delivery, inflight.job, self._state.traffic.direct
        # A job that came back may have crashed its dispatcher.
        if rooms.get(run.target, 0) <= 0 or delivery.deliveries > 1:
            return False
        if direct.tenants >= MOST_TENANTS and not direct.of_tenant(job.tenant):
            return False
        self._decider.note_run(inflight, run, now)
        trace = self._spans.intake(delivery, now, self._clock.now())
        source = WorkOf(run.target, job.lane)
        here = Delivery(job, source, delivery.deliveries, delivery.stored_at, trace, delivery.raw, delivery.token)
        self._leases.exchange(delivery, here)
        self._remember(inflight)
        running = InFlightJob(here, job, reason=run.reason, probe=run.probe)
        self._buffers[run.target].put(job.lane, running, now, deadline_at(job, self._rules))
        return True

    def _remember(self, inflight: InFlightJob) -> None:
        self._recent[inflight.call_id] = inflight.delivery.stored_at
        if len(self._recent) > MOST_RECENT:
            del self._recent[next(iter(self._recent))]
