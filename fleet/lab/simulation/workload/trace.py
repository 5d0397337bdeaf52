"""A recorded run: its jobs, their times, and the attempts made for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.model.attempt import Judged
from fleet.model.job import Lane, Plan


@dataclass(frozen=True, slots=True)
class RecordedAttempt:
    """An attempt of a recorded job. Times are unix seconds; an attempt without tokens failed."""

    target: str
    started_at: float
    ended_at: float
    input_tokens: int
    output_tokens: int
    confidence: float | None = None
    judged: Judged | None = None


@dataclass(frozen=True, slots=True)
class RecordedJob:
    id: str
    task: str
    lane: Lane
    plan: Plan
    submitted_at: float
    finished_at: float
    target: str | None
    attempts: tuple[RecordedAttempt, ...]


Trace = Sequence[RecordedJob]


def span(trace: Trace) -> tuple[float, float]:
    """Return the times of the first submission and the last result."""
    return min(job.submitted_at for job in trace), max(job.finished_at for job in trace)
