"""Counts the ends of the jobs: how, when and where, and how well they are answered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from fleet.lab.simulation.report.sketch import Sketch
from fleet.lab.simulation.saving.known import KnownAnswer, KnownBy
from fleet.lab.simulation.workload.crowd import SimulatedJob
from fleet.model.action import Finish, GiveUp
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.target import EXACT, PATTERN, SEMANTIC


@dataclass(slots=True)
class LaneTally:
    """Counts of one lane. `waits` run from arrival to the first attempt, `times` from arrival to the result."""

    waits: Sketch = field(default_factory=Sketch)
    times: Sketch = field(default_factory=Sketch)
    misses: int = 0


_ANSWERS = {
    KnownBy.PATTERN: (PATTERN, Reason.PATTERN),
    KnownBy.EXACT: (EXACT, Reason.CACHED),
    KnownBy.COALESCED: (EXACT, Reason.CACHED),
    KnownBy.SEMANTIC: (SEMANTIC, Reason.SIMILAR),
}


class Tally:
    """Counts every job once when it arrives and once when it ends."""

    def __init__(self) -> None:
        self.arrived = 0
        self.ended = 0
        self.answered = 0
        self.right = 0
        self.attempts = 0
        self.escalations = 0
        self.overloaded = 0
        self.overloaded_usd = 0.0
        self.last_at = 0.0
        self.lanes = {lane: LaneTally() for lane in Lane}
        self.statuses: Counter[Status] = Counter()
        self.reasons: Counter[Reason] = Counter()
        self.by_target: Counter[str] = Counter()
        self.without_call: Counter[KnownBy] = Counter()

    def begun(self, job: SimulatedJob, lane: Lane, now: float) -> None:
        self.lanes[lane].waits.add(now - job.arrived_at)

    def finished(self, job: SimulatedJob, lane: Lane, action: Finish, target: str, now: float) -> None:
        """Count a job answered by `target`, with the answer of its attempt of that number."""
        self.answered += 1
        self.by_target[target] += 1
        self.right += job.rights >> (action.attempt - 1) & 1
        self._end(job, lane, action, now)

    def gave_up(self, job: SimulatedJob, lane: Lane, action: GiveUp, now: float) -> None:
        self._end(job, lane, action, now)
        if action.status is Status.EXPIRED:
            self.lanes[lane].misses += 1

    def known(self, job: SimulatedJob, lane: Lane, answer: KnownAnswer, now: float) -> None:
        """Count a job answered without a call."""
        self.without_call[answer.by] += 1
        self.begun(job, lane, now)
        job.rights = int(answer.is_right)
        target, reason = _ANSWERS[answer.by]
        self.finished(job, lane, Finish(1, Status.SUCCEEDED, reason), target, now)

    def _end(self, job: SimulatedJob, lane: Lane, action: Finish | GiveUp, now: float) -> None:
        self.ended += 1
        self.attempts += len(job.path)
        self.statuses[action.status] += 1
        self.reasons[action.reason] += 1
        self.last_at = now
        self.lanes[lane].times.add(now - job.arrived_at)
