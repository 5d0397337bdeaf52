"""A target outside the fleet: it takes its time, refuses what is over its limit and is away at times."""

from __future__ import annotations

from fleet.lab.simulation.workload.crowd import SimulatedJob
from fleet.lab.simulation.workload.scenario import HOUR_SECONDS, Paid
from fleet.model.attempt import Answer, Failure, FailureKind, Headroom, Limit, Outcome, Usage
from policies.resilience import pacing

REFUSAL_SECONDS = 0.1
AWAY_SECONDS = 1.0
"""Seconds of a refused call, and of one that reaches nobody."""

MINUTE_SECONDS = 60.0
MANY = 1_000_000

ANSWER = Answer({}, "stop", Usage(), "")
"""An answer that stands for all; what is decided on travels beside it."""

AWAY = Failure(FailureKind.CONNECTION, "simulated outage")


class SimulatedProvider:
    """A simulated provider. `meter`, as in production, is what the fleet knows of its rate limit."""

    __slots__ = ("_counted", "_minute", "_paid", "meter")

    def __init__(self, paid: Paid) -> None:
        self._paid = paid
        self._minute = -1
        self._counted = 0
        self.meter = pacing.Meter()

    def calls_left(self, running: int, now: float) -> int:
        if self._paid.requests_per_minute is None:
            return MANY
        return int(min(MANY, pacing.calls(self.meter, running, 0.0, now)))

    def opens_at(self, now: float) -> float | None:
        """Return when the meter may let more calls through; None where only an answer can."""
        seconds = pacing.opens_in(self.meter, now)
        return None if seconds is None else now + seconds

    def call(self, job: SimulatedJob, now: float) -> tuple[float, Outcome]:
        """Return when the call is over, and its outcome."""
        if any(
            each.at_hours * HOUR_SECONDS <= now < (each.at_hours + each.hours) * HOUR_SECONDS
            for each in self._paid.outages
        ):
            return now + AWAY_SECONDS, AWAY
        done_at = now + self._paid.seconds + job.output / self._paid.tokens_per_second
        limit = self._paid.requests_per_minute
        if limit is None:
            return done_at, ANSWER
        minute = int(now // MINUTE_SECONDS)
        if minute != self._minute:
            self._minute, self._counted = minute, 0
        left_seconds = (minute + 1) * MINUTE_SECONDS - now
        if self._counted >= limit:
            refused = Failure(FailureKind.RATE_LIMITED, "simulated limit", retry_after_seconds=left_seconds)
            return now + REFUSAL_SECONDS, refused
        self._counted += 1
        headroom = Headroom(requests=Limit(limit - self._counted, max(0.0, (minute + 1) * MINUTE_SECONDS - done_at)))
        return done_at, Answer({}, "stop", Usage(), "", headroom=headroom)

    def heard(self, outcome: Outcome, now: float) -> None:
        if self._paid.requests_per_minute is not None:
            self.meter = pacing.after(self.meter, outcome, now)
