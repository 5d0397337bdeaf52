"""Decides which traces are kept, once a job has ended and everything about it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.model.attempt import Attempt
from fleet.model.result import Status
from fleet.model.span import Sampling, is_sampled, publisher_of, trace_id_of
from fleet.model.unguarded import unguarded

ERRORS = (Status.FAILED, Status.EXPIRED)
"""The ends that nobody wished for. A rejected job is its publisher's fault, and its result says what is wrong."""

NEARLY_LATE = 0.9
"""Share of the time up to its deadline after which a job counts as slow."""

LOW_BITS = (1 << 64) - 1


@unguarded
@dataclass(frozen=True, slots=True)
class JobPace:
    """The time that a job took, what all but a few of its lane take, and what it had up to its deadline; in seconds."""

    taken: float
    usual: float
    allowed: float

    @property
    def is_slow(self) -> bool:
        return self.taken > self.usual or self.taken >= NEARLY_LATE * self.allowed


def kept_by_id(traceparent: str | None, tenant: str, job_id: str, sampling: Sampling) -> int | None:
    """Return the id of the job's trace if it is kept whatever becomes of the job, which every process answers alike.

    Ids are compared as OpenTelemetry's samplers do, so that services with equal shares keep the same traces.
    """
    publisher = publisher_of(traceparent)
    if publisher is not None and traceparent is not None and sampling.follows_publisher:
        return publisher.trace_id if is_sampled(traceparent) else None
    if sampling.share <= 0.0:
        return None
    trace_id = trace_id_of(None, tenant, job_id) if publisher is None else publisher.trace_id
    return trace_id if (trace_id & LOW_BITS) < sampling.share * (LOW_BITS + 1) else None


def is_notable(status: Status, attempts: Sequence[Attempt], pace: JobPace, sampling: Sampling) -> bool:
    """Return whether the trace is worth keeping for what became of the job."""
    if not sampling.notable:
        return False
    if status in ERRORS or pace.is_slow:
        return True
    if len(attempts) > 1 and any(each.target != attempts[0].target for each in attempts):
        return True
    return sum([each.cost_usd for each in attempts]) >= sampling.expensive_usd
