"""When a job's answer loses its worth, and when it is certain to come too late."""

from __future__ import annotations

from fleet.model.action import GiveUp
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.result import Problem, Status
from fleet.model.view import View
from policies.rules.rules import Rules

DOUBT = 2.0
"""A job is given up early only if it would take this many times the time it has: a wrong guess costs an answer."""

ENOUGH_ANSWERS = 20
"""Answers in a lane before their sojourns say anything."""

STALE_SECONDS = 30.0
"""A sojourn older than this says nothing: whoever gives up on it would never learn that it has changed."""


def deadline_at(job: Job, rules: Rules) -> float:
    """Unix seconds: the job's own word, else the lane's default after submission or, if later, `not_before_at`."""
    if job.deadline_at is not None:
        return job.deadline_at
    return max(job.submitted_at, job.not_before_at or 0.0) + rules.lane_seconds[job.lane]


def out_of_reach(job: Job, target: str, view: View, now: float, rules: Rules) -> GiveUp | None:
    """The early end of a job about to be handed to `target`, if what it sees there leaves it no chance; else None.

    The sojourn is what jobs of the lane took of late from the hand-over to their answer. It holds for the whole fleet,
    whoever serves the queue, where a dispatcher's own completions per second are only its share of them.
    """
    sojourn = view.targets[target].sojourns.get(job.lane)
    if sojourn is None or sojourn.answers < ENOUGH_ANSWERS or now - sojourn.seen_at > STALE_SECONDS:
        return None
    left_seconds = deadline_at(job, rules) - now
    if sojourn.seconds <= DOUBT * left_seconds:
        return None
    message = f"{left_seconds:.1f} s are left, and jobs like this take {sojourn.seconds:.1f} s on {target} now"
    return GiveUp(Status.EXPIRED, Reason.DEADLINE_OUT_OF_REACH, Problem(message, field="deadline"))
