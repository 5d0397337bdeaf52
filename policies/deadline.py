"""When a job's answer loses its worth."""

from __future__ import annotations

from fleet.model.job import Job
from policies.rules import Rules


def deadline_at(job: Job, rules: Rules) -> float:
    """Unix seconds: the job's own word, else the lane's default after submission."""
    return job.submitted_at + rules.lane_seconds[job.lane] if job.deadline_at is None else job.deadline_at
