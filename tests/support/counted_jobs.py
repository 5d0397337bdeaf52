"""Transitions of one job, and the values of a reading, for tests of metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fleet.model.attempt import Answer, Attempt, Usage
from fleet.model.delivery import Ack, Committed, Delivery, JobsOf, Transition, WorkOf
from fleet.model.job import Job, Lane, Plan
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Outbound, Result, Status, Work
from fleet.telemetry.metrics.counts import JobCounts
from fleet.telemetry.metrics.families import Family

JOB = Job("job-000000000001", "acme", Lane.BULK, "nudge", Plan.PAID, {"messages": []}, submitted_at=1000.0)

SMALL, MIDDLE = WorkOf("llama-8b", Lane.BULK), WorkOf("mixtral-8x7b", Lane.BULK)

ANSWER = Answer({"role": "assistant", "content": "Gern."}, "stop", Usage(12, 3, 4, 5, 2), "small")


def attempt(number: int = 1, target: str = "llama-8b", **changes: Any) -> Attempt:
    plain = {"reason": Reason.ROUTED, "started_at": 1002.0, "ended_at": 1002.5, "outcome": ANSWER, "confidence": 0.87}
    return Attempt(number=number, target=target, **{**plain, **changes})


def transition(
    *outbound: Outbound, source: JobsOf | WorkOf = SMALL, deliveries: int = 1, traceparent: str | None = None
) -> Transition:
    """What follows from the job's message, which was stored at 1001.5."""
    body = JOB if isinstance(source, JobsOf) else Work(JOB, source.target, Reason.ROUTED)
    return Transition(outbound, Ack(Delivery(body, source, deliveries, 1001.5, traceparent)), traceparent)


def commit(counts: JobCounts, transitions: Sequence[Transition], at: float) -> None:
    """Count what was committed of jobs whose traces nobody exports."""
    counts.committed([(each, Committed()) for each in transitions], [False] * len(transitions), at)


def ended(
    made: Attempt | None = None, status: Status = Status.SUCCEEDED, reason: Reason = Reason.CONFIDENT
) -> Sequence[Outbound]:
    """The ledger line and the result of a job that ends at 1003.0."""
    entry = LedgerEntry(JOB.id, JOB.tenant, JOB.lane, 1003.0, reason, JOB.task, "paid", status, made)
    target = None if made is None else made.target
    return entry, Result(JOB.id, JOB.tenant, status, reason, 1003.0, JOB.task, JOB.submitted_at, target=target)


def series(families: Sequence[Family]) -> dict[tuple[str, tuple[str, ...]], Any]:
    """Every value, under the metric's name and the values of its labels."""
    return {(family.metric.name, point.labels): point.value for family in families for point in family.points}
