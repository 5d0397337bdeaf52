"""Spans of a job's trace. The ids of traces and spans are made of names, so that every process makes the same ones.

A span is made after the fact, of what the ledger says: carrying a job never waits for tracing, and a trace can be made
as long as the ledger's lines are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fleet.model.unguarded import unguarded

AttributeValue = str | int | float | bool

SAMPLED = 1
"""The bit of a traceparent's flags that says that its sender keeps the trace."""


class Step(StrEnum):
    """The steps of a job that have a span, and the micro-batch, which has one for many jobs."""

    JOB = "job"
    QUEUE_WAIT = "queue_wait"
    INTAKE = "intake"
    ESCALATE = "escalate"
    SLOT_WAIT = "slot_wait"
    CALL = "call"
    KNOWN_ANSWER = "known_answer"
    ENGINE_QUEUE = "engine.queue"
    ENGINE_PREFILL = "engine.prefill"
    ENGINE_DECODE = "engine.decode"
    RESULT = "result"
    BATCH = "batch"

    __hash__ = str.__hash__  # an enum has one of Python code, and steps are looked up for every span


@unguarded
@dataclass(frozen=True, slots=True)
class Link:
    """Another span, perhaps of another trace."""

    trace_id: int
    span_id: int


@unguarded
@dataclass(frozen=True, slots=True)
class Span:
    """A step with its times, in unix seconds. Attributes go by the project's own words."""

    step: Step
    name: str
    trace_id: int
    span_id: int
    parent_id: int | None
    started_at: float
    ended_at: float
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """The rule by which traces are kept once their jobs have ended.

    `share` of all traces are kept, chosen by their ids; with `follows_publisher`, a publisher that sent a traceparent
    decides for its own instead. With `notable`, so are those of jobs that failed, escalated, were slow or cost
    `expensive_usd` or more, up to `notable_per_second` in each dispatcher.
    """

    share: float = 1.0
    follows_publisher: bool = True
    notable: bool = True
    expensive_usd: float = 0.05
    notable_per_second: float = 20.0


def publisher_of(traceparent: str | None) -> Link | None:
    """Return the span in a well-formed W3C traceparent; None if it names none."""
    if traceparent is None or traceparent.startswith("ff"):
        return None
    trace_id, span_id = int(traceparent[3:35], 16), int(traceparent[36:52], 16)
    return Link(trace_id, span_id) if trace_id and span_id else None


def is_sampled(traceparent: str) -> bool:
    """Return whether the publisher keeps the trace."""
    return bool(int(traceparent[53:55], 16) & SAMPLED)


def trace_id_of(traceparent: str | None, tenant: str, job_id: str) -> int:
    """Return the id of the job's trace: the publisher's, or else one made of the job's name."""
    publisher = publisher_of(traceparent)
    return _id(f"{tenant}.{job_id}", 16) if publisher is None else publisher.trace_id


def span_id_of(tenant: str, job_id: str, step: Step, line: str = "") -> int:
    """Return the id of the job's span of this step, of the attempt that the ledger's `line` tells of if it has one.

    It does not depend on the trace: a publisher may put many jobs into one.
    """
    return SpanIds(tenant, job_id).of(step, line)


class SpanIds:
    """The ids of the spans of one job, see `span_id_of`; the job's name is hashed once for all of them."""

    def __init__(self, tenant: str, job_id: str) -> None:
        self._begun = hashlib.blake2b(f"{tenant}.{job_id}.".encode(), digest_size=8)

    def of(self, step: Step, line: str = "") -> int:
        """Return the id of the span of this step, of the attempt that `line` tells of."""
        whole = self._begun.copy()
        whole.update(f"{step}.{line}".encode())
        return int.from_bytes(whole.digest(), "big")


def batch_of(batch: str) -> Link:
    """Return the span of a micro-batch, the only one of its trace."""
    return Link(_id(batch, 16), int(batch, 16))


def _id(name: str, size_bytes: int) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=size_bytes).digest(), "big")
