"""A cancellation: a publisher's wish that a job shall not be answered any more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cancellation:
    """`tenant` comes from the subject: nobody calls off another's job. The job may be one that nobody knows."""

    tenant: str
    job_id: str
