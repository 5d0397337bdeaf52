"""A cancellation: a publisher's wish that a job should not be answered any more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cancellation:
    """A cancellation. `tenant` comes from the subject, so nobody cancels another's job; the job may be unknown."""

    tenant: str
    job_id: str
