"""The deadline of a job's answer, and the check whether it is certain to be missed."""

from __future__ import annotations

from fleet.model.action import GiveUp
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.result import Problem, Status
from fleet.model.view import View
from policies.rules.rules import Rules

DOUBT = 2.0
"""Multiple of the time left that a job must take to be given up early: a wrong guess costs an answer."""

ENOUGH_ANSWERS = 20
"""Minimum answers in a lane before their sojourns say anything."""

STALE_SECONDS = 30.0
"""Age beyond which a sojourn says nothing: a target given up on would never be seen to have changed."""


def deadline_at(job: Job, rules: Rules) -> float:
    """Return the job's deadline, else the lane's default after submission or a later `not_before_at` (unix seconds)."""
    if job.deadline_at is not None:
        return job.deadline_at
    return max(job.submitted_at, job.not_before_at or 0.0) + rules.lane_seconds[job.lane]


def out_of_reach(job: Job, target: str, view: View, now: float, rules: Rules) -> GiveUp | None:
    """End a job early that is about to go to `target`, if its times there leave it no chance; else return None.

    The sojourn is what jobs of the lane recently took from the hand-over to their answer. It holds for the whole fleet,
    however many dispatchers serve the queue; a dispatcher's own completions per second are only its share of them.
    """
    sojourn = view.targets[target].sojourns.get(job.lane)
    if sojourn is None or sojourn.answers < ENOUGH_ANSWERS or now - sojourn.seen_at > STALE_SECONDS:
        return None
    left_seconds = deadline_at(job, rules) - now
    if sojourn.seconds <= DOUBT * left_seconds:
        return None
    message = f"{left_seconds:.1f} s are left, and jobs like this take {sojourn.seconds:.1f} s on {target} now"
    return GiveUp(Status.EXPIRED, Reason.DEADLINE_OUT_OF_REACH, Problem(message, field="deadline"))
