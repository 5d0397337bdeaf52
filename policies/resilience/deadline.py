"""The deadline of a job's answer, and the check whether it is certain to be missed."""

from __future__ import annotations

from fleet.model.action import GiveUp
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.result import Problem, Status
from fleet.model.view import View
from policies.routing.overload import expected_seconds, is_known
from policies.rules.rules import Rules

DOUBT = 2.0
"""Multiple of the time left that a job must take to be given up early: a wrong guess costs an answer."""


def deadline_at(job: Job, rules: Rules) -> float:
    """Return the job's deadline, else the lane's default after submission or a later `not_before_at` (unix seconds)."""
    if job.deadline_at is not None:
        return job.deadline_at
    return max(job.submitted_at, job.not_before_at or 0.0) + rules.lane_seconds[job.lane]


def out_of_reach(job: Job, target: str, view: View, now: float, rules: Rules) -> GiveUp | None:
    """End a job early that is about to go to `target`, if its times there leave it no chance; else return None.

    The sojourn is what jobs of the lane recently took from the hand-over to their answer. It holds for the whole fleet,
    however many dispatchers serve the queue; a dispatcher's own completions per second are only its share of them. A
    queue that has drained since counts; one that has grown does not, for that is only expected.
    """
    of_target = view.targets[target]
    sojourn = of_target.sojourns.get(job.lane)
    if sojourn is None or not is_known(sojourn, now):
        return None
    seconds = min(sojourn.seconds, expected_seconds(sojourn, rules.catalogue.targets[target], of_target.capacity))
    left_seconds = deadline_at(job, rules) - now
    if seconds <= DOUBT * left_seconds:
        return None
    message = f"{left_seconds:.1f} s are left, and jobs like this take {seconds:.1f} s on {target} now"
    return GiveUp(Status.EXPIRED, Reason.DEADLINE_OUT_OF_REACH, Problem(message, field="deadline"))
